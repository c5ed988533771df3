# Sourced after env.sh: a Postgres and a Redis of our own, on free loopback ports, in a temporary directory.
#
#   servers_start     sets TEMP (also TMPDIR), DEPLOYMIND_TEST_DATABASE_URL, DEPLOYMIND_TEST_REDIS_URL
#   engine_start      sees to a Docker engine: the one that answers, or one of our own until the end
#   trivy_ready       sets DEPLOYMIND_TEST_TRIVY, DEPLOYMIND_TEST_TRIVY_CACHE
#   servers_stop      stops them, ends what was left running inside TEMP, removes TEMP
#   run <command>     runs it so that a signal to this script ends it too (`launch` and `await` are its two halves)
#
# Sourcing installs the traps: whatever ends the script also stops the servers.

TEMP=""
POSTGRES_PID=""
REDIS_PID=""
ENGINE_PID=""
RUN_PID=""

trap 'on_exit $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

on_exit() {
    trap - EXIT
    trap '' INT TERM HUP
    if [[ -n "$RUN_PID" ]]; then
        kill -TERM -- "-$RUN_PID" 2>/dev/null || true
        wait_gone "$RUN_PID" 10 || kill -KILL -- "-$RUN_PID" 2>/dev/null || true
    fi
    servers_stop
    exit "$1"
}

run() {
    launch "$@"
    await
}

# In a process group of its own: the shell then handles signals at once instead of after the command,
# and one kill reaches cargo and the test binary it started.
launch() {
    set -m
    "$@" </dev/null &
    RUN_PID=$!
    set +m
}

await() {
    local status=0
    wait "$RUN_PID" || status=$?
    # What the command started and did not wait for.
    kill -KILL -- "-$RUN_PID" 2>/dev/null || true
    RUN_PID=""
    return "$status"
}

wait_gone() { # pid seconds
    local tries=$(($2 * 20))
    while kill -0 "$1" 2>/dev/null; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}

# Postgres refuses to run as root.
as_postgres() {
    if ((EUID == 0)); then
        setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        "$@"
    fi
}

# Below the kernel's range for outgoing connections, and below the range the test harness takes its own from.
free_port() {
    local port
    for _ in {1..200}; do
        port=$((15000 + RANDOM % 5000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free loopback port between 15000 and 19999"
}

wait_ready() { # name pid log command...
    local name="$1" pid="$2" log="$3" tries=600
    shift 3
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || return 1
        ((tries-- > 0)) || { tail -n 20 "$log" >&2; die "$name is not ready after 30 s"; }
        sleep 0.05
    done
}

start_postgres() {
    local bin data="$TEMP/postgres" log="$TEMP/postgres.log" port
    bin="$(postgres_bin)" || die "no Postgres server found"
    mkdir -p "$data"
    ((EUID != 0)) || chown postgres: "$data"
    (cd "$data" && as_postgres "$bin/initdb" --pgdata="$data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$log" 2>&1 || { cat "$log" >&2; die "initdb failed"; }
    for _ in {1..5}; do
        port="$(free_port)"
        (cd "$data" && exec_postgres "$bin/postgres" -D "$data" -p "$port" -k "$data" \
            -c listen_addresses=127.0.0.1 -c max_connections=300 -c fsync=on) >>"$log" 2>&1 </dev/null &
        POSTGRES_PID=$!
        if wait_ready Postgres "$POSTGRES_PID" "$log" \
            psql -X "postgres://postgres@127.0.0.1:$port/postgres" -c 'SELECT 1'; then
            export DEPLOYMIND_TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres"
            return
        fi
    done
    tail -n 20 "$log" >&2
    die "Postgres does not start"
}

# `exec`, so that the background pid is the server itself and not a shell around it.
exec_postgres() {
    if ((EUID == 0)); then
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        exec "$@"
    fi
}

start_redis() {
    local data="$TEMP/redis" log="$TEMP/redis.log" port
    mkdir -p "$data"
    for _ in {1..5}; do
        port="$(free_port)"
        (cd "$data" && exec redis-server --bind 127.0.0.1 --port "$port" --dir "$data" \
            --save '' --appendonly yes --maxmemory-policy noeviction) >>"$log" 2>&1 </dev/null &
        REDIS_PID=$!
        if wait_ready Redis "$REDIS_PID" "$log" redis-cli -h 127.0.0.1 -p "$port" ping; then
            export DEPLOYMIND_TEST_REDIS_URL="redis://127.0.0.1:$port/"
            return
        fi
    done
    tail -n 20 "$log" >&2
    die "Redis does not start"
}

servers_start() {
    TEMP="$(mktemp -d "${TMPDIR:-/tmp}/deploymind.XXXXXX")"
    # The postgres user must be able to walk through it.
    chmod 711 "$TEMP"
    export TMPDIR="$TEMP"
    start_postgres
    start_redis
}

# Its images stay where the engine keeps them, outside the checkout, for the next time.
engine_start() {
    install_packages missing_engine_packages
    ! docker version >/dev/null 2>&1 || return 0
    ((EUID == 0)) || die "no Docker engine answers: start one, or run this as root"
    say "starting a Docker engine"
    local log="$TEMP/dockerd.log"
    # What a killed engine leaves; it is not running, or it had answered.
    rm -f /var/run/docker.pid /run/docker/containerd/containerd.pid
    (cd / && exec dockerd) >"$log" 2>&1 </dev/null &
    ENGINE_PID=$!
    wait_ready "the Docker engine" "$ENGINE_PID" "$log" docker version || { tail -n 20 "$log" >&2; die "dockerd does not start"; }
}

# The scanner and its small database, for tests. Through files: what `run` starts is a job of its own.
trivy_ready() {
    run "$ROOT/scripts/trivy.sh" >"$TEMP/trivy"
    run "$ROOT/scripts/trivy.sh" db "$TEMP/trivy-cache" >&2
    DEPLOYMIND_TEST_TRIVY="$(cat "$TEMP/trivy")"
    export DEPLOYMIND_TEST_TRIVY DEPLOYMIND_TEST_TRIVY_CACHE="$TEMP/trivy-cache"
}

# Every process a test starts works in a directory inside TEMP; one that is still there has lost its owner.
end_strays() {
    local link pid
    for link in /proc/[0-9]*/cwd; do
        [[ "$(readlink "$link" 2>/dev/null)/" == "$TEMP"/* ]] || continue
        pid="${link#/proc/}"
        pid="${pid%/cwd}"
        say "ending a process left behind by a test: $pid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
        kill -CONT "$pid" 2>/dev/null || true
        kill -KILL "$pid" 2>/dev/null || true
    done
}

servers_stop() {
    [[ -n "$TEMP" ]] || return 0
    # INT is Postgres' fast shutdown: it does not wait for clients to leave.
    [[ -z "$POSTGRES_PID" ]] || kill -INT "$POSTGRES_PID" 2>/dev/null || true
    [[ -z "$REDIS_PID" ]] || kill -TERM "$REDIS_PID" 2>/dev/null || true
    [[ -z "$ENGINE_PID" ]] || kill -TERM "$ENGINE_PID" 2>/dev/null || true
    local pid
    for pid in $POSTGRES_PID $REDIS_PID $ENGINE_PID; do
        wait_gone "$pid" 10 || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    POSTGRES_PID=""
    REDIS_PID=""
    ENGINE_PID=""
    end_strays
    rm -rf "$TEMP"
    TEMP=""
}
