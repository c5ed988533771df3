#!/bin/sh
# The two habits of the official entry point that a configuration may rely on: variables in templates, and start scripts.
set -e
for template in /etc/nginx/templates/*.template; do
    [ -e "$template" ] || continue
    names="$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/${\1}/p' | tr '\n' ' ')"
    envsubst "$names" <"$template" >"/etc/nginx/conf.d/$(basename "$template" .template)"
done
for script in /docker-entrypoint.d/*.sh; do
    [ -x "$script" ] && "$script"
done
exec "$@"
