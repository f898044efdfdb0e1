# Starts and stops the broker under test. Sourced by scripts/demo and scripts/interop/*; needs $RINGMILL, the binary.
# Every process is ended by its id; nothing is left behind when the caller exits.

work=$(mktemp -d "${TMPDIR:-/tmp}/ringmill.XXXXXX")
broker_pid=
shipper_pid=
broker_log=$work/broker.log
address=

fail() {
    echo "FAILED: $*" >&2
    [ -s "$broker_log" ] && { echo "--- the broker's last words" >&2; tail -n 15 "$broker_log" >&2; }
    exit 1
}

skip() {
    echo "SKIPPED: $*"
    exit 77
}

# broker_start [FLAG...]: starts it on $work/data and waits until it says where it listens. The first start takes a free
# port; later ones take the same, for clients that are to find it again.
broker_start() {
    local lines_before
    # Made here, for on a busy machine the broker's own process makes it too late for the first look.
    : >> "$broker_log"
    lines_before=$(wc -l < "$broker_log")
    "$RINGMILL" serve --data-dir "$work/data" --listen "${address:-127.0.0.1:0}" --log-format json "$@" >> "$broker_log" 2>&1 &
    broker_pid=$!
    for _ in $(seq 200); do
        address=$(tail -n +$((lines_before + 1)) "$broker_log" | sed -nE 's/.*"address":"(127\.0\.0\.1:[0-9]+)".*/\1/p' | tail -n 1)
        [ -n "$address" ] && return 0
        kill -0 "$broker_pid" 2> /dev/null || fail "the broker ended while it started"
        sleep 0.05
    done
    fail "the broker did not say within 10 s where it listens"
}

# broker_kill: what a power button does to a process.
broker_kill() {
    kill -KILL "$broker_pid"
    wait "$broker_pid" 2> /dev/null || true
    broker_pid=
}

# broker_stop: an orderly stop, which must succeed.
broker_stop() {
    kill -TERM "$broker_pid"
    ends_within 60 "$broker_pid" || fail "the broker did not end within 60 s when asked to stop"
    wait "$broker_pid" || fail "the broker ended with status $? when asked to stop"
    broker_pid=
}

# shipper_stop: an orderly stop of the shipper that runs, if one does; how it ends is its own affair.
shipper_stop() {
    kill -TERM "$shipper_pid" 2> /dev/null || true
    ends_within 20 "$shipper_pid" || kill -KILL "$shipper_pid"
    wait "$shipper_pid" || true
    shipper_pid=
}

# ends_within SECONDS PID
ends_within() {
    for _ in $(seq $(($1 * 20))); do
        kill -0 "$2" 2> /dev/null || return 0
        sleep 0.05
    done
    return 1
}

# stored_codecs TOPIC: the codecs of the batches on disk that are worth compressing. librdkafka leaves a batch of a few records
# as it is when compressing would make it larger.
stored_codecs() {
    "$RINGMILL" log dump -o json "$work/data/$1-0" | grep -E '"record_count": ?[0-9]{2,}' |
        grep -oE '"codec": ?"[a-z0-9]*"' | cut -d'"' -f4 | sort -u | tr '\n' ' '
}

broker_cleanup() {
    local status=$? pid
    # All that the caller has in the background, and a broker that is nobody's child.
    for pid in $broker_pid $(jobs -p); do kill -KILL "$pid" 2> /dev/null || true; done
    rm -rf "$work"
    exit "$status"
}
trap broker_cleanup EXIT

# real_log FILE LINES: real text of this host, at most LINES lines: the package manager's log, which every Debian has.
real_log() {
    local source=/var/log/dpkg.log
    [ -s "$source" ] || skip "$source is empty or missing: this check ships a real log of this host"
    head -n "$2" "$source" > "$1"
}
