FROM composer:2 AS build
WORKDIR /app
ARG API_URL
ENV COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_CACHE_DIR=/composer
COPY composer.json composer.lock* ./
RUN --mount=type=cache,id=deploymind-shop-composer,target=/composer,sharing=locked composer install --no-dev --no-interaction --no-progress --no-scripts --no-autoloader --prefer-dist --ignore-platform-reqs \
    || echo 'the packages are installed with the source'
COPY . .
RUN --mount=type=cache,id=deploymind-shop-composer,target=/composer,sharing=locked composer install --no-dev --no-interaction --no-progress --no-scripts --optimize-autoloader --prefer-dist --ignore-platform-reqs

FROM php:8.3-apache-bookworm
RUN docker-php-ext-install pdo_mysql && a2enmod rewrite
ENV PORT=8080 APACHE_DOCUMENT_ROOT=/var/www/html/public
RUN sed -ri 's!^Listen 80$!Listen ${PORT}!' /etc/apache2/ports.conf \
    && sed -ri -e 's!<VirtualHost \*:80>!<VirtualHost *:${PORT}>!' -e 's!DocumentRoot /var/www/html!DocumentRoot ${APACHE_DOCUMENT_ROOT}!' /etc/apache2/sites-available/000-default.conf
WORKDIR /var/www/html
COPY --from=build --chown=33:33 /app ./
USER 33:33
EXPOSE 8080
STOPSIGNAL SIGWINCH
CMD ["apache2-foreground"]
