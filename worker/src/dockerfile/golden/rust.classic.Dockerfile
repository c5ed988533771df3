FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates pkg-config libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ARG API_URL
COPY Cargo.toml Cargo.lock* rust-toolchain* ./
RUN mkdir -p src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && (cargo build --release --locked || echo 'the dependencies are compiled with the source') \
    && rm -rf src
COPY . .
RUN find . -name '*.rs' -not -path './target/*' -exec touch {} + \
    && cargo build --release --locked --bin shop \
    && mkdir -p /out && cp target/release/shop /out/shop
RUN for folder in assets config migrations public static templates views web; do \
    if [ -d "$folder" ]; then cp -R "$folder" /out/; fi; done
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV PORT=8080 HOST=0.0.0.0 HOME=/tmp PATH=/app:$PATH ROCKET_ADDRESS=0.0.0.0 ROCKET_PORT=8080
COPY --from=build --chown=10001:10001 /out/ ./
USER 10001:10001
EXPOSE 8080
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["/app/shop"]
