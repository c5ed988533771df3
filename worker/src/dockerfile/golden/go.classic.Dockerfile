FROM golang:1.22-bookworm AS build
WORKDIR /src
ARG API_URL
COPY go.mod go.sum* ./
RUN go mod download
COPY . .
RUN go build -trimpath -buildvcs=false -ldflags='-s -w' -o /out/api ./cmd/api
RUN for folder in assets config migrations public static templates views web; do \
    if [ -d "$folder" ]; then cp -R "$folder" /out/; fi; done
FROM debian:bookworm-slim
WORKDIR /app
ENV PORT=8080 HOST=0.0.0.0 HOME=/tmp PATH=/app:$PATH
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=10001:10001 /out/ ./
USER 10001:10001
EXPOSE 8080
CMD ["/app/api"]
