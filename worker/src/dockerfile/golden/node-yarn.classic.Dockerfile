FROM node:22-bookworm-slim AS build
WORKDIR /app
ARG API_URL
ENV COREPACK_ENABLE_DOWNLOAD_PROMPT=0 YARN_NODE_LINKER=node-modules YARN_CACHE_FOLDER=/yarn CI=true
RUN npm install --global --no-audit --no-fund corepack@0.31.0 && corepack enable
COPY package.json yarn.lock* .yarnrc* .npmrc* ./
RUN case "$(yarn --version)" in \
    1.*) yarn install --ignore-scripts --frozen-lockfile ;; \
    *) yarn install --mode=skip-build --immutable ;; esac
COPY . .
RUN case "$(yarn --version)" in \
    1.*) yarn install --force --frozen-lockfile ;; \
    *) yarn install --immutable ;; esac
RUN yarn run build
RUN rm -f .npmrc

FROM node:22-bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production PORT=3000 HOST=0.0.0.0 HOSTNAME=0.0.0.0 HOME=/tmp PATH=/app/node_modules/.bin:$PATH
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["next","start"]
