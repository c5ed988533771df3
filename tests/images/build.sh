#!/usr/bin/env bash
# Makes the base images that generated Dockerfiles start from.
#
#   tests/images/build.sh             all of them
#   tests/images/build.sh <name>...   these, and what they are made from
#   tests/images/build.sh --list      only the names
#
# Where an image registry answers, the real images are pulled. Elsewhere stand-ins are built from Debian's packages and
# tagged with the same names; see README.md. What is there already, and made by the same recipe, is left alone.
#
# Needs: docker (engine running), debootstrap, root. The Debian mirror is the one this machine uses; elsewhere name it:
#   DEPLOYMIND_TEST_DEBIAN_MIRROR, DEPLOYMIND_TEST_DEBIAN_SECURITY_MIRROR
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/deploymind/images"
SUITE=bookworm
ROOT_IMAGE="deploymind-test/root:$SUITE"
HASH_LABEL=deploymind.test-image
STAND_IN_LABEL=deploymind.stand-in
# How long the first answer of an image registry is waited for, and how long a silence is believed.
PULL_SECONDS=20
SILENCE_MINUTES=720

# name, recipe, build argument. Those that others start from come first.
IMAGES=(
    "debian:bookworm-slim                         debian"
    "python:3.12-slim-bookworm                    python"
    "python:3.11-slim-bookworm                    python"
    "node:22-bookworm-slim                        node     NODE_MAJOR=22"
    "node:20-bookworm-slim                        node     NODE_MAJOR=20"
    "golang:1.24-bookworm                         go       GO_VERSION=1.24.6"
    "nginxinc/nginx-unprivileged:1.29-bookworm    nginx"
    "nginx:1.29-bookworm                          nginx-official"
    "rust:1.95-slim-bookworm                      rust"
    "rust:1.85-slim-bookworm                      rust"
    "ruby:3.3-slim-bookworm                       ruby"
    "ruby:3.1-slim-bookworm                       ruby"
    "php:8.3-apache-bookworm                      php"
    "php:8.2-apache-bookworm                      php"
    "composer:2                                   composer"
    "maven:3.9-eclipse-temurin-17                 maven"
    "maven:3.9-eclipse-temurin-21                 maven"
    "eclipse-temurin:17-jre                       temurin"
    "eclipse-temurin:21-jre                       temurin"
)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

names() { printf '%s\n' "${IMAGES[@]}" | awk '{print $1}'; }

# Prints the recipe and the build argument of a name; fails for a name that is not ours.
recipe_of() {
    local name recipe argument row
    for row in "${IMAGES[@]}"; do
        read -r name recipe argument <<<"$row"
        if [[ "$name" == "$1" ]]; then
            printf '%s %s\n' "$recipe" "$argument"
            return
        fi
    done
    return 1
}

# The images a recipe starts from or copies from, as far as they are ours.
parents_of() { # recipe
    local parent
    sed -nE 's/^FROM ([^ $]+).*/\1/p; s/.*--from=([^ $]+).*/\1/p' "$HERE/$1/Dockerfile" | while read -r parent; do
        if recipe_of "$parent" >/dev/null; then printf '%s\n' "$parent"; fi
    done
}

label_of() { # image label
    docker image inspect --format "{{with .Config.Labels}}{{index . \"$2\"}}{{end}}" "$1" 2>/dev/null
}

find_mirrors() {
    MIRROR="${DEPLOYMIND_TEST_DEBIAN_MIRROR:-}"
    SECURITY_MIRROR="${DEPLOYMIND_TEST_DEBIAN_SECURITY_MIRROR:-}"
    local uri suites
    while read -r uri suites; do
        case "$suites" in
            *-security*) SECURITY_MIRROR="${SECURITY_MIRROR:-$uri}" ;;
            *) MIRROR="${MIRROR:-$uri}" ;;
        esac
    done < <(
        # Both forms of apt's configuration, as "<uri> <suites>".
        awk 'tolower($1) == "uris:" { uri = $2 }
             tolower($1) == "suites:" { $1 = ""; suites = $0 }
             uri != "" && suites != "" { print uri, suites; uri = ""; suites = "" }' \
            /etc/apt/sources.list.d/debian.sources 2>/dev/null || true
        sed -nE 's/^deb +(\[[^]]*\] +)?([^ ]+) +([^ ]+).*/\2 \3/p' /etc/apt/sources.list 2>/dev/null || true
    )
    [[ -n "$MIRROR" ]] || die "no Debian mirror found in /etc/apt: set DEPLOYMIND_TEST_DEBIAN_MIRROR"
}

find_ca_bundle() {
    local file
    for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
        if [[ -s "$file" ]]; then
            CA_BUNDLE="$file"
            return
        fi
    done
    die "no bundle of certificate authorities: install ca-certificates"
}

# One hash over everything an image is made of: its recipe, its argument, and the same of what it starts from.
recipe_hash() { # name
    local recipe argument parent
    read -r recipe argument < <(recipe_of "$1")
    {
        printf '%s %s %s %s\n' "$SUITE" "$MIRROR" "$SECURITY_MIRROR" "$argument"
        if [[ "$recipe" == debian ]]; then
            declare -f root_tarball debian_context
            cat "$CA_BUNDLE"
        fi
        (cd "$HERE/$recipe" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
        parents_of "$recipe" | while read -r parent; do recipe_hash "$parent"; done
    } | sha256sum | cut -c 1-24
}

# The packages of a small Debian, made once and kept outside the checkout.
root_tarball() {
    local key tarball folder keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    key="$({ printf '%s %s ' "$SUITE" "$MIRROR"; declare -f root_tarball; } | sha256sum | cut -c 1-16)"
    tarball="$CACHE/root-$key.tar.gz"
    if [[ ! -s "$tarball" ]]; then
        ((EUID == 0)) || die "debootstrap needs root: run this with sudo"
        command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
        folder="$WORK/root"
        local options=(--variant=minbase --include=ca-certificates)
        if [[ -s "$keyring" ]]; then options+=("--keyring=$keyring"); fi
        debootstrap "${options[@]}" "$SUITE" "$folder" "$MIRROR" >"$WORK/debootstrap.log" 2>&1 ||
            die "debootstrap failed: $(tail -n 3 "$WORK/debootstrap.log")"
        # As in the official slim images: no manuals, no translations, and dpkg neither waits for the disk nor brings them back.
        printf 'force-unsafe-io\n' >"$folder/etc/dpkg/dpkg.cfg.d/unsafe-io"
        printf 'path-exclude /usr/share/%s/*\n' doc man locale info lintian >"$folder/etc/dpkg/dpkg.cfg.d/slim"
        printf 'path-include /usr/share/doc/*/copyright\n' >>"$folder/etc/dpkg/dpkg.cfg.d/slim"
        printf 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\nBinary::apt::APT::Keep-Downloaded-Packages "false";\n' \
            >"$folder/etc/apt/apt.conf.d/slim"
        printf 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n' \
            >>"$folder/etc/apt/apt.conf.d/slim"
        rm -rf "$folder"/var/lib/apt/lists/* "$folder"/var/cache/apt/* "$folder"/var/log/*
        rm -rf "$folder"/usr/share/{man,locale,info}/*
        find "$folder/usr/share/doc" -type f ! -name copyright -delete
        # This machine's own names do not belong into an image; the engine writes both.
        : >"$folder/etc/resolv.conf"
        : >"$folder/etc/hostname"
        tar --numeric-owner --one-file-system -C "$folder" -c . | gzip -1 >"$WORK/root.tar.gz"
        rm -rf --one-file-system "$folder"
        mkdir -p "$CACHE"
        mv "$WORK/root.tar.gz" "$tarball"
    fi
    printf '%s\n' "$tarball"
}

# What the first recipe needs from this machine, beside its own files.
debian_context() { # folder
    cp "$CA_BUNDLE" "$1/ca-bundle.crt"
    {
        printf 'Types: deb\nURIs: %s\nSuites: %s %s-updates\nComponents: main\n' "$MIRROR" "$SUITE" "$SUITE"
        printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'
        if [[ -n "$SECURITY_MIRROR" ]]; then
            printf '\nTypes: deb\nURIs: %s\nSuites: %s-security\nComponents: main\n' "$SECURITY_MIRROR" "$SUITE"
            printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n'
        fi
    } >"$1/mirror.sources"
}

# Whether image registries are out of reach. Asked once with a small image; a silence is remembered for half a day.
registry_silent() {
    local mark="$CACHE/registry-silent"
    if [[ -n "$(find "$mark" -mmin "-$SILENCE_MINUTES" 2>/dev/null)" ]]; then return 0; fi
    if timeout "$PULL_SECONDS" docker pull --quiet hello-world:latest >/dev/null 2>&1; then
        rm -f "$mark"
        return 1
    fi
    mkdir -p "$CACHE"
    : >"$mark"
}

build() { # name hash
    local name="$1" hash="$2" recipe argument context started=$SECONDS before
    read -r recipe argument < <(recipe_of "$name")
    context="$WORK/context"
    rm -rf "$context"
    cp -r "$HERE/$recipe" "$context"
    local options=(--quiet --force-rm --tag "$name" --label "$HASH_LABEL=$hash" --label "$STAND_IN_LABEL=true")
    if [[ "$recipe" == debian ]]; then
        local tarball
        tarball="$(root_tarball)"
        debian_context "$context"
        docker import "$tarball" "$ROOT_IMAGE" >/dev/null
        options+=(--build-arg "ROOT_IMAGE=$ROOT_IMAGE")
    fi
    if [[ -n "$argument" ]]; then options+=(--build-arg "$argument"); fi
    before="$(docker image inspect --format '{{.Id}}' "$name" 2>/dev/null || true)"
    # The classic builder is in every engine, and reads the parents out of the engine instead of a registry.
    if ! DOCKER_BUILDKIT=0 docker build "${options[@]}" "$context" >"$WORK/build.log" 2>&1; then
        tail -n 40 "$WORK/build.log" >&2
        die "could not build $name"
    fi
    # The old one goes once no name is left, unless something is made from it.
    if [[ -n "$before" && "$(docker image inspect --format '{{len .RepoTags}}' "$before" 2>/dev/null)" == 0 ]]; then
        docker rmi "$before" >/dev/null 2>&1 || true
    fi
    # What an earlier stage left, which nothing refers to.
    docker image prune --force --filter "label=$STAND_IN_LABEL=stage" >/dev/null 2>&1 || true
    report "$name" stand-in "$started"
}

report() { # name how started
    local bytes
    bytes="$(docker image inspect --format '{{.Size}}' "$1")"
    printf '%-44s %-9s %4d MB %4d s\n' "$1" "$2" "$((bytes / 1000000))" "$((SECONDS - $3))"
}

# Leaves `name` in the engine: as it is, pulled, or built.
ensure() { # name
    local name="$1" recipe parent hash started=$SECONDS
    if [[ -n "${DONE[$name]:-}" ]]; then return; fi
    DONE[$name]=1
    if docker image inspect "$name" >/dev/null 2>&1 && [[ -z "$(label_of "$name" "$HASH_LABEL")" ]]; then
        # Without our label it is the real one, or its owner's: neither is ours to replace.
        report "$name" present "$started"
        return
    fi
    hash="$(recipe_hash "$name")"
    if [[ "$(label_of "$name" "$HASH_LABEL")" == "$hash" ]]; then
        report "$name" stand-in "$started"
        return
    fi
    if ! registry_silent && docker pull --quiet "$name" >/dev/null; then
        report "$name" pulled "$started"
        return
    fi
    read -r recipe _ < <(recipe_of "$name")
    for parent in $(parents_of "$recipe"); do ensure "$parent"; done
    build "$name" "$hash"
}

main() {
    if [[ "${1:-}" == --list ]]; then
        names
        return
    fi
    local wanted=("$@") name
    if ((${#wanted[@]} == 0)); then mapfile -t wanted < <(names); fi
    for name in "${wanted[@]}"; do
        recipe_of "$name" >/dev/null || die "no recipe for $name; there are: $(names | tr '\n' ' ')"
    done
    docker version >/dev/null 2>&1 || die "no Docker engine answers: start dockerd"
    find_mirrors
    find_ca_bundle
    WORK="$(mktemp -d)"
    trap 'rm -rf --one-file-system "$WORK"' EXIT
    declare -gA DONE=()
    for name in "${wanted[@]}"; do ensure "$name"; done
}

main "$@"
