FROM ruby:3.3-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential default-libmysqlclient-dev git libffi-dev libpq-dev libsqlite3-dev libyaml-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ARG API_URL
ENV GEM_HOME=/usr/local/bundle BUNDLE_WITHOUT=development:test BUNDLE_FROZEN=1 BUNDLE_GLOBAL_GEM_CACHE=1 RAILS_ENV=production RACK_ENV=production
COPY Gemfile Gemfile.lock* .ruby-version* .tool-versions* ./
RUN --mount=type=cache,id=deploymind-shop-bundle,target=/root/.bundle/cache,sharing=locked bundle install --jobs 4 --retry 3 && rm -rf /usr/local/bundle/cache
COPY . .

FROM ruby:3.3-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libmariadb3 libpq5 libsqlite3-0 libyaml-0-2 tini \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV GEM_HOME=/usr/local/bundle BUNDLE_WITHOUT=development:test RAILS_ENV=production RACK_ENV=production APP_ENV=production RAILS_LOG_TO_STDOUT=1 RAILS_SERVE_STATIC_FILES=1 PORT=3000 HOST=0.0.0.0 HOME=/tmp
COPY --from=build /usr/local/bundle /usr/local/bundle
COPY --from=build --chown=10001:10001 /app ./
USER 10001:10001
EXPOSE 3000
ENTRYPOINT ["/usr/bin/tini","--"]
CMD ["sh","-c","exec bundle exec rails server -b 0.0.0.0 -p \"${PORT}\""]
