FROM php:8.3-apache-bookworm
RUN docker-php-ext-install pdo_mysql && a2enmod rewrite
ENV PORT=8080 APACHE_DOCUMENT_ROOT=/var/www/html
RUN sed -ri 's!^Listen 80$!Listen ${PORT}!' /etc/apache2/ports.conf \
    && sed -ri -e 's!<VirtualHost \*:80>!<VirtualHost *:${PORT}>!' -e 's!DocumentRoot /var/www/html!DocumentRoot ${APACHE_DOCUMENT_ROOT}!' /etc/apache2/sites-available/000-default.conf
WORKDIR /var/www/html
COPY --chown=33:33 . .
USER 33:33
EXPOSE 8080
STOPSIGNAL SIGWINCH
CMD ["apache2-foreground"]
