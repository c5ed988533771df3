#!/usr/bin/env bash
# The pinned Trivy for tests, and a small vulnerability database of invented advisories for it.
#
#   scripts/trivy.sh                      builds Trivy once, prints the path of the program
#   scripts/trivy.sh db <dir> [age]       makes <dir> fit for `--cache-dir`; with an age ("720h") it says it is that old
#   scripts/trivy.sh clean                removes what only building needs (modules, Go's cache)
#
# Only the result goes to stdout. Sources are held to tests/trivy/go.sum; nothing else is trusted about the proxy.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# Releases 0.69.4 to 0.69.6 were compromised: never pin one of them.
VERSION="0.69.3"
MODULE="$ROOT/tests/trivy"
HOME_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/deploymind/trivy"
SUMS="$(cat "$MODULE"/go.mod "$MODULE"/go.sum "$MODULE"/db/*.go | sha256sum | cut -c1-16)"
PROGRAM="$HOME_DIR/$VERSION/trivy"
MAKER="$HOME_DIR/$VERSION/db-$SUMS"

go_ready() {
    if ! command -v go >/dev/null; then
        command -v apt-get >/dev/null || die "go is missing: install Go 1.21 or newer (https://go.dev/dl)"
        ((EUID == 0)) || die "run this, then try again: sudo apt-get update && sudo apt-get install -y golang-go"
        say "installing: golang-go"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -o DPkg::Lock::Timeout=300 update >&2
        apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends golang-go ca-certificates >&2
    fi
    # From 1.21 on, Go fetches the toolchain go.mod names by itself. Debian's may be older; it can still fetch one as a
    # module, checked like any other.
    local minor
    minor="$(go env GOVERSION | sed -E 's/^go1\.([0-9]+).*/\1/')"
    [[ "$minor" =~ ^[0-9]+$ ]] && ((minor >= 16)) || die "$(go version) is too old: install Go 1.21 or newer (https://go.dev/dl)"
    ((minor >= 21)) || fetch_toolchain
}

fetch_toolchain() {
    local wanted folder
    wanted="v0.0.1-go$(awk '$1 == "go" { print $2 }' "$MODULE/go.mod").$(go env GOOS)-$(go env GOARCH)"
    say "fetching golang.org/toolchain $wanted: $(go version) is too old"
    folder="$(cd "$HOME_DIR" && GOMODCACHE="$HOME_DIR/mod" GOFLAGS=-modcacherw \
        go mod download -json "golang.org/toolchain@$wanted" | sed -n 's/^\t"Dir": "\(.*\)",\{0,1\}$/\1/p')"
    [[ -d "$folder" ]] || die "golang.org/toolchain $wanted cannot be fetched: install Go 1.21 or newer (https://go.dev/dl)"
    # Modules have no executable files.
    chmod +x "$folder"/bin/* "$folder"/pkg/tool/*/*
    export PATH="$folder/bin:$PATH"
    unset GOROOT
}

# go_build <output> <package> [flags...]
go_build() {
    local output="$1" package="$2"
    shift 2
    # Trivy's own releases are built with jsonv2; without it some of its reports differ.
    (cd "$MODULE" && env GOMODCACHE="$HOME_DIR/mod" GOCACHE="$HOME_DIR/build" GOTOOLCHAIN=auto GOWORK=off \
        GOFLAGS=-modcacherw CGO_ENABLED=0 GOEXPERIMENT=jsonv2 \
        nice go build -mod=readonly -trimpath -buildvcs=false -p 2 "$@" -o "$output.part" "$package") >&2
    mv "$output.part" "$output"
}

build() {
    [[ -x "$PROGRAM" ]] && return
    go_ready
    local started=$SECONDS
    say "building trivy $VERSION (once; several minutes and about 6 GB, most of which is given back)"
    go_build "$PROGRAM" github.com/aquasecurity/trivy/cmd/trivy \
        -ldflags "-s -w -X github.com/aquasecurity/trivy/pkg/version/app.ver=$VERSION"
    say "built trivy $VERSION in $((SECONDS - started)) s"
}

maker() {
    [[ -x "$MAKER" ]] && return
    go_ready
    rm -f -- "$HOME_DIR/$VERSION"/db-*
    go_build "$MAKER" ./db -ldflags "-s -w"
}

clean() {
    rm -rf -- "$HOME_DIR/mod" "$HOME_DIR/build"
}

mkdir -p "$HOME_DIR/$VERSION"
# Two builds at once would need twice the memory and write one file.
exec 9>"$HOME_DIR/lock"
flock 9

case "${1:-}" in
    "")
        if [[ ! -x "$PROGRAM" || ! -x "$MAKER" ]]; then
            build
            maker
            clean
        fi
        printf '%s\n' "$PROGRAM"
        ;;
    db)
        (($# >= 2 && $# <= 3)) || die "usage: scripts/trivy.sh db <dir> [age]"
        maker
        mkdir -p "$2"
        "$MAKER" "$MODULE/db/advisories.json" "$2" "${3:-0s}" >&2
        printf '%s\n' "$2"
        ;;
    clean) clean ;;
    *) die "usage: scripts/trivy.sh [db <dir> [age] | clean]" ;;
esac
