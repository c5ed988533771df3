#!/usr/bin/env bash
# Format and lints, the way CI sees them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
install_requirements

cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
