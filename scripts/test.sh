#!/usr/bin/env bash
# Everything CI checks, on servers of its own.
#
#   scripts/test.sh              format, lints, build, all tests
#   scripts/test.sh <filter>...  build, then the tests whose name holds a filter (anything cargo test takes after `--`)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$ROOT/scripts/servers.sh"
cd "$ROOT"
SECONDS=0

install_requirements
if (($# == 0)); then
    run "$ROOT/scripts/check.sh"
fi
# The suites start the real processes, so the binaries must be there and be the ones of this source.
run cargo build --workspace --locked
# By itself, as it ships: beside the tests it would be built with features that only they ask for.
run cargo build --locked -p deploymind-cli

servers_start
engine_start
run "$ROOT/tests/images/build.sh"
trivy_ready
log="$TEMP/cargo-test.log"
# Through a file, not a pipe: a process that a test leaves behind would hold a pipe open, and this script with it.
launch cargo test --workspace --locked --no-fail-fast -- "$@" >"$log" 2>&1
tail -n +1 -f -s 0.2 --pid="$RUN_PID" "$log" &
follower=$!
status=0
await || status=$?
wait "$follower"

read -r passed failed < <(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0, failed + 0 }' "$log")
# A test binary that died never printed its result; a run that did not succeed must not read "0 failed".
if ((status != 0 && failed == 0)); then
    failed=1
fi
if ((status == 0 && passed == 0)); then
    say "no test matches: $*"
    status=1
fi
echo "$passed passed, $failed failed"
echo "wall time ${SECONDS} s"
exit "$status"
