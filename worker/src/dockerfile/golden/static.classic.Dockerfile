FROM nginxinc/nginx-unprivileged:1.29-bookworm
USER root
RUN rm -rf /usr/share/nginx/html/* && printf '%s\n' \
    'server {' \
    '    listen 8080;' \
    '    root /usr/share/nginx/html;' \
    '    index index.html;' \
    '    location / { try_files $uri $uri/ $uri.html =404; }' \
    '}' > /etc/nginx/conf.d/default.conf
COPY public/ /usr/share/nginx/html/
ENV PORT=8080
USER 101:101
EXPOSE 8080
STOPSIGNAL SIGQUIT
CMD ["nginx","-g","daemon off;"]
