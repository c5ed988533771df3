# Sourced by every script: where builds go, and what must be installed first.
# Sets ROOT, CARGO_TARGET_DIR, SQLX_OFFLINE. Prints to stderr only.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${DEPLOYMIND_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/deploymind/target}}"
# A build never needs a database: the query data is committed. `make sqlx-prepare` renews it.
export SQLX_OFFLINE="${SQLX_OFFLINE:-true}"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# The newest installed server; Debian keeps it outside PATH.
postgres_bin() {
    local dir
    dir="$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)"
    if [[ -x "$dir/initdb" ]]; then
        printf '%s\n' "$dir"
    elif command -v initdb >/dev/null; then
        dirname "$(command -v initdb)"
    else
        return 1
    fi
}

missing_packages() {
    command -v cc >/dev/null || echo gcc libc6-dev
    command -v faketime >/dev/null || echo faketime
    command -v git >/dev/null || echo git
    command -v mold >/dev/null || echo mold
    { command -v redis-server && command -v redis-cli; } >/dev/null || echo redis-server
    { postgres_bin && command -v psql; } >/dev/null || echo postgresql
}

# What the tests of the pipeline need beside.
missing_engine_packages() {
    command -v debootstrap >/dev/null || echo debootstrap
    { command -v docker && command -v dockerd; } >/dev/null || echo docker.io iptables
    command -v docker-registry >/dev/null || echo docker-registry
    [[ -x /usr/sbin/sshd ]] || echo openssh-server
    [[ -s /etc/ssl/certs/ca-certificates.crt ]] || echo ca-certificates
}

# Installs what a command prints, when it may; says the exact command when it may not.
install_packages() { # command that prints names of packages
    local packages
    read -r -a packages <<<"$("$1" | tr '\n' ' ')"
    ((${#packages[@]})) || return 0
    local install=(apt-get install -y --no-install-recommends "${packages[@]}")
    if ! command -v apt-get >/dev/null; then
        die "install these with your package manager, then run again: ${packages[*]}"
    elif ((EUID != 0)); then
        die "run this, then try again: sudo apt-get update && sudo ${install[*]}"
    fi
    say "installing: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update >&2
    apt-get -o DPkg::Lock::Timeout=300 "${install[@]:1}" >&2
    read -r -a packages <<<"$("$1" | tr '\n' ' ')"
    ((${#packages[@]} == 0)) || die "still missing after the installation: ${packages[*]}"
}

install_requirements() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.95 with rustup (https://rustup.rs)"
    install_packages missing_packages
    if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
        command -v rustup >/dev/null || die "rustfmt or clippy is missing: install both for $(rustc --version)"
        rustup component add rustfmt clippy >&2
    fi
}
