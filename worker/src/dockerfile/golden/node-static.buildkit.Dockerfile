FROM node:22-bookworm-slim AS build
WORKDIR /app
ARG API_URL
COPY package.json package-lock.json* npm-shrinkwrap.json* .npmrc* ./
RUN --mount=type=cache,id=deploymind-shop-npm,target=/root/.npm,sharing=locked npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN --mount=type=cache,id=deploymind-shop-npm,target=/root/.npm,sharing=locked npm rebuild \
    || (apt-get update \
        && apt-get install -y --no-install-recommends build-essential pkg-config python3 git \
        && rm -rf /var/lib/apt/lists/* \
        && npm rebuild)
RUN npm run postinstall --if-present
RUN npm run build
RUN mkdir /site && cp -R -- dist/. /site/

FROM nginxinc/nginx-unprivileged:1.29-bookworm
USER root
RUN rm -rf /usr/share/nginx/html/* && printf '%s\n' \
    'server {' \
    '    listen 8080;' \
    '    root /usr/share/nginx/html;' \
    '    index index.html;' \
    '    location / { try_files $uri $uri/ /index.html; }' \
    '}' > /etc/nginx/conf.d/default.conf
COPY --from=build /site/ /usr/share/nginx/html/
ENV PORT=8080
USER 101:101
EXPOSE 8080
STOPSIGNAL SIGQUIT
CMD ["nginx","-g","daemon off;"]
