#!/usr/bin/env bash
# The committed query data of deploymind-shared (shared/.sqlx): what lets the SQL be type-checked without a database.
#
#   scripts/sqlx.sh prepare   write it anew from migrations/ and the source
#   scripts/sqlx.sh check     fail when it is not what `prepare` would write
#
# sqlx-cli is not needed: with DATABASE_URL and SQLX_OFFLINE_DIR set, the macros themselves write what they learn.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$ROOT/scripts/servers.sh"
cd "$ROOT"

mode="${1:-}"
[[ "$mode" == prepare || "$mode" == check ]] || die "usage: scripts/sqlx.sh prepare|check"
committed="$ROOT/shared/.sqlx"

install_requirements
servers_start

database="${DEPLOYMIND_TEST_DATABASE_URL%/*}/deploymind"
psql -X -q "$DEPLOYMIND_TEST_DATABASE_URL" -c 'CREATE DATABASE deploymind'
shopt -s nullglob
for migration in migrations/*.sql; do
    case "$migration" in *.down.sql) continue ;; esac
    # The same rule as sqlx: one transaction each, unless the file's first line says otherwise.
    transaction=(--single-transaction)
    if [[ "$(head -n 1 "$migration")" == "-- no-transaction"* ]]; then
        transaction=()
    fi
    psql -X -q -v ON_ERROR_STOP=1 "${transaction[@]}" -f "$migration" "$database" >&2 || die "$migration does not apply"
done

generated="$TEMP/sqlx"
mkdir "$generated"
# The macros only run when the crate is compiled; cargo does not know that the database changed.
touch shared/src/lib.rs
DATABASE_URL="$database" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$generated" \
    run cargo check --locked -p deploymind-shared --all-targets --all-features >&2
# Whatever is compiled next must read the committed data again, not what this database said.
touch shared/src/lib.rs

if [[ "$mode" == check ]]; then
    mkdir -p "$TEMP/none"
    [[ -d "$committed" ]] || committed="$TEMP/none"
    if ! diff -r "$committed" "$generated" >&2; then
        die "shared/.sqlx is not what the migrations and the source say: run make sqlx-prepare and commit it"
    fi
    say "shared/.sqlx is up to date"
else
    rm -rf "$committed"
    if [[ -n "$(ls -A "$generated")" ]]; then
        cp -r "$generated" "$committed"
    fi
    say "shared/.sqlx: $(find "$generated" -type f | wc -l) queries"
fi
