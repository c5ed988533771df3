#!/usr/bin/env bash
# A benchmark on servers of its own. Only the result (JSON lines) goes to stdout.
#
#   scripts/bench.sh queue|pipeline|rollout [arguments of the benchmark]...
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
. "$ROOT/scripts/servers.sh"
cd "$ROOT"
# What a benchmark starts beside the program that ships.
programs=()

case "${1:-}" in
    queue) bench="bench-queue" ;;
    pipeline) bench="bench-pipeline" ;;
    rollout) bench="bench-rollout" programs=(--bin load --bin sample-app) ;;
    *) die "usage: scripts/bench.sh queue|pipeline|rollout [arguments]" ;;
esac
shift

install_requirements
run cargo build --release --locked -p deploymind-cli >&2
run cargo build --release --locked -p deploymind-tests --no-default-features --bin "$bench" "${programs[@]}" >&2
servers_start
# Building an image needs an engine, the image it begins with, and the scanner for the rounds with scans.
if [[ "$bench" == bench-pipeline && "${1:-image}" == image ]]; then
    engine_start
    run "$ROOT/tests/images/build.sh" debian:bookworm-slim >&2
    trivy_ready
elif [[ "$bench" == bench-rollout ]]; then
    engine_start
    run "$ROOT/tests/images/build.sh" debian:bookworm-slim nginx:1.29-bookworm >&2
fi
run "$CARGO_TARGET_DIR/release/$bench" "$@"
