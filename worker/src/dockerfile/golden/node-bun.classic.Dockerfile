FROM oven/bun:1-debian AS build
WORKDIR /app
ARG API_URL
COPY package.json bun.lock* bunfig.toml* .npmrc* ./
RUN bun install --ignore-scripts --frozen-lockfile
COPY . .
RUN bun install --frozen-lockfile
RUN rm -f .npmrc

FROM oven/bun:1-debian
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production PORT=3000 HOST=0.0.0.0 HOME=/tmp PATH=/app/node_modules/.bin:$PATH
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["bun","run","index.ts"]
