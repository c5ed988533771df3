#!/usr/bin/env bash
# Drops and creates anew (empty) the database that DATABASE_URL names. The next process that starts migrates it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

[[ -n "${DATABASE_URL:-}" ]] || die "set DATABASE_URL to the database to empty, e.g. postgres://postgres@127.0.0.1:5432/deploymind"
name="${DATABASE_URL##*/}"
name="${name%%\?*}"
[[ "$name" =~ ^[a-z_][a-z0-9_]*$ && "$name" != postgres && "$name" != template* ]] ||
    die "DATABASE_URL must end in the name of a database of its own"
# A slip of the shell history must not empty a database on another machine.
[[ "$DATABASE_URL" =~ (@|//)(127\.0\.0\.1|localhost|\[::1\])[:/] ]] || die "db-reset only touches a database on this machine"

psql -X -q -v ON_ERROR_STOP=1 "${DATABASE_URL%/*}/postgres" \
    -c "DROP DATABASE IF EXISTS \"$name\" WITH (FORCE)" -c "CREATE DATABASE \"$name\""
say "$name is empty"
