#!/usr/bin/env bash
# A benchmark on servers of its own. Only the result (JSON lines) goes to stdout.
#
#   scripts/bench.sh queue|pipeline [arguments of the benchmark]...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$ROOT/scripts/servers.sh"
cd "$ROOT"

case "${1:-}" in
    queue) bench="bench-queue" ;;
    pipeline) bench="bench-pipeline" ;;
    *) die "usage: scripts/bench.sh queue|pipeline [arguments]" ;;
esac
shift

install_requirements
run cargo build --release --locked -p deploymind-cli >&2
run cargo build --release --locked -p deploymind-tests --no-default-features --bin "$bench" >&2
servers_start
# Building an image needs an engine, the image it begins with, and the scanner for the rounds with scans.
if [[ "$bench" == bench-pipeline && "${1:-image}" == image ]]; then
    engine_start
    run "$ROOT/tests/images/build.sh" debian:bookworm-slim >&2
    trivy_ready
fi
run "$CARGO_TARGET_DIR/release/$bench" "$@"
