# What the start scripts of scripts/peers share: a directory per running peer, a free port, waiting for it, ending it.
#
# To be sourced. A peer's directory holds its data under data/, what it says in log, its process in pid and where it listens in address.
# Only processes that these files name are ever ended.

peer_dir=
peer_port=
peer_settings=()

peer_fail() {
    echo "FAILED: $*" >&2
    [ -s "$peer_dir/log" ] && { echo "--- its last words, from $peer_dir/log" >&2; tail -n 15 "$peer_dir/log" >&2; }
    exit 1
}

# peer_lacks WHAT: for what is not to be had on this machine, which is no fault.
peer_lacks() {
    echo "SKIPPED: $*" >&2
    exit 77
}

# peer_option NAME VALUE: reads an option that every start script has: --port, --dir, --set.
peer_option() {
    case "$1" in
        --port) peer_port=${2:?--port needs a number} ;;
        --dir) peer_dir=${2:?--dir needs a directory} ;;
        --set) peer_settings+=("${2:?--set needs a line of its configuration}") ;;
        *) echo "unknown option $1; --help says what there is" >&2; exit 2 ;;
    esac
}

# peer_place NAME: makes the peer's directory and chooses a port, unless options named them.
peer_place() {
    peer_dir=${peer_dir:-$(mktemp -d "${TMPDIR:-/tmp}/ringmill-peer-$1.XXXXXX")}
    mkdir -p "$peer_dir/data"
    peer_dir=$(cd "$peer_dir" && pwd)
    if peer_runs; then
        echo "FAILED: one runs in $peer_dir already, as process $(cat "$peer_dir/pid")" >&2
        exit 1
    fi
    peer_port=${peer_port:-$(peer_free_port)}
}

# peer_free_port: prints a port of 127.0.0.1 where nothing listens, below those that the kernel gives to clients.
peer_free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 10000))
        (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || { echo "$port"; return 0; }
    done
    return 1
}

# peer_launch COMMAND...: starts it in a session of its own, so that it outlives the script that started it.
peer_launch() {
    setsid "$@" > "$peer_dir/log" 2>&1 < /dev/null &
    echo $! > "$peer_dir/pid"
    echo "127.0.0.1:$peer_port" > "$peer_dir/address"
}

# peer_wait SECONDS PROBE...: until the probe succeeds; one that hangs is given up after 2 s. A peer that does not answer is ended.
peer_wait() {
    local seconds=$1
    shift
    for _ in $(seq $((seconds * 5))); do
        peer_runs || peer_fail "it ended while it started"
        timeout 2 bash -c "$(declare -f "$1"); $(printf '%q ' "$@")" 2> /dev/null && return 0
        sleep 0.2
    done
    kill -KILL "$(cat "$peer_dir/pid")"
    peer_fail "it did not answer within $seconds s"
}

# peer_runs: whether the process that the directory names is there.
peer_runs() {
    [ -s "$peer_dir/pid" ] && kill -0 "$(cat "$peer_dir/pid")" 2> /dev/null
}

# peer_say NAME VALUE: a line that people and awk can read.
peer_say() {
    printf '%-11s %s\n' "$1" "$2"
}

# peer_say_where SETTINGS [SCHEME]: where the peer's settings are, and how to reach and to end it.
peer_say_where() {
    peer_say settings "$1"
    peer_say stop "$0 stop $peer_dir"
    peer_say pid "$(cat "$peer_dir/pid")"
    peer_say address "${2:-}$(cat "$peer_dir/address")"
}

# peer_stop_as WORD DIR [--keep]: what stands behind `stop` on a start script's command line.
peer_stop_as() {
    case "${3:-}" in
        '') peer_stop "${2:?stop needs the directory that start printed}" "$1" ;;
        --keep) peer_stop "$2" "$1" keep ;;
        *) echo "unknown option $3; --help says what there is" >&2; exit 2 ;;
    esac
}

# peer_stop DIR WORD [keep]: asks the peer in DIR to end, waits, and removes the directory unless it is to be kept. The process must have
# WORD in its command line: a number in a file may be that of another by now.
peer_stop() {
    local pid
    peer_dir=$1
    [ -s "$peer_dir/pid" ] || peer_fail "$peer_dir is not the directory of a peer"
    pid=$(cat "$peer_dir/pid")
    if peer_runs; then
        tr '\0' ' ' < "/proc/$pid/cmdline" | grep -qF -- "$2" || peer_fail "process $pid is none of ours: it has no $2 in its command line"
        kill -TERM "$pid"
        for _ in $(seq 600); do
            kill -0 "$pid" 2> /dev/null || break
            sleep 0.1
        done
        kill -0 "$pid" 2> /dev/null && peer_fail "process $pid did not end within 60 s when asked to"
    fi
    if [ "${3:-}" = keep ]; then
        rm "$peer_dir/pid" "$peer_dir/address"
        echo "stopped; its data stay in $peer_dir"
    else
        rm -rf "$peer_dir"
        echo "stopped, and $peer_dir removed"
    fi
}
