FROM node:22-bookworm-slim AS build
WORKDIR /app
ARG API_URL
ENV COREPACK_ENABLE_DOWNLOAD_PROMPT=0 PNPM_HOME=/pnpm CI=true
RUN npm install --global --no-audit --no-fund corepack@0.31.0 && corepack enable
COPY package.json pnpm-lock.yaml* pnpm-workspace.yaml* .npmrc* ./
RUN --mount=type=cache,id=deploymind-shop-pnpm,target=/pnpm/store,sharing=locked pnpm fetch --store-dir /pnpm/store
COPY . .
RUN --mount=type=cache,id=deploymind-shop-pnpm,target=/pnpm/store,sharing=locked pnpm install --frozen-lockfile --prefer-offline --store-dir /pnpm/store \
    || (apt-get update \
        && apt-get install -y --no-install-recommends build-essential pkg-config python3 git \
        && rm -rf /var/lib/apt/lists/* \
        && pnpm install --frozen-lockfile --prefer-offline --store-dir /pnpm/store)
RUN pnpm run build
RUN pnpm prune --prod --ignore-scripts
RUN rm -f .npmrc

FROM node:22-bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production PORT=3000 HOST=0.0.0.0 HOME=/tmp PATH=/app/node_modules/.bin:$PATH
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["node","dist/main.js"]
