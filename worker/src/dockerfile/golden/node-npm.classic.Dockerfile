FROM node:20-bookworm-slim AS build
WORKDIR /app
ARG API_URL
COPY package.json package-lock.json* npm-shrinkwrap.json* .npmrc* ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm rebuild \
    || (apt-get update \
        && apt-get install -y --no-install-recommends build-essential pkg-config python3 git \
        && rm -rf /var/lib/apt/lists/* \
        && npm rebuild)
RUN npm run postinstall --if-present
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund
RUN rm -f .npmrc

FROM node:20-bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production PORT=3000 HOST=0.0.0.0 HOME=/tmp PATH=/app/node_modules/.bin:$PATH
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["node","server.js"]
