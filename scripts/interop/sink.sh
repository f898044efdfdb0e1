#!/bin/bash
# The recipe of scripts/examples/nginx-to-clickhouse end to end: nginx's access log, by rsyslog, through the broker, into a table of ClickHouse.
#
# Real requests of many kinds go on while the broker is stopped, killed and started again, and ClickHouse too. In the end every row of the table is
# compared with nginx's log in every column, and counts and sums, by status, with what the requesting clients saw. Every request must be
# there once; how many lines came more than once before the table made them one is printed. Only paths and ports of the recipe are adapted.
#
# Usage: sink.sh BINARY_DIR [--kafka]. With --kafka Apache Kafka takes Ringmill's place, to tell whose fault a failure is.
set -euo pipefail
RINGMILL=${1:?usage: $0 BINARY_DIR [--kafka]}/ringmill
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
. "$here/../lib/nginx.sh"
. "$here/../lib/peer.sh"
. "$here/../lib/rsyslog.sh"
[ "${2:-}" != --kafka ] || . "$here/../lib/kafka_as_broker.sh"

recipe=$here/../examples/nginx-to-clickhouse
clickhouse_root=$(repository_root)/target/interop/sink/clickhouse
access_log=$work/nginx/access.json.log
# What ends while requests go on, each time to be started again.
endings=("broker stop" "broker kill" "shipper stop" "clickhouse kill" "clickhouse stop")
# So many requests pass while it is away.
readonly REQUESTS_MISSED=300

main() {
    local ending what how load_pid
    need_apt kcat || skip "kcat is not installed and cannot be installed here"
    { need_apt rsyslog rsyslog-kafka && rsyslog_is_there; } || skip "rsyslog and rsyslog-kafka are not installed and cannot be installed here"
    have_nginx || skip "nginx-light cannot be had here"
    unpack_apt "$clickhouse_root" clickhouse-server clickhouse-client || skip "clickhouse-server and clickhouse-client cannot be had here"
    need_command python3 python3 || skip "python3 is not installed and cannot be installed here"

    broker_start
    "$RINGMILL" topic create access --partitions 4 --broker "$address"
    adapted nginx.conf > "$work/access.conf"
    nginx_start "include $work/access.conf;"
    shipper_start
    clickhouse_start
    adapted clickhouse.sql | clickhouse --multiquery

    make_files
    load &
    load_pid=$!
    await 30 "the first requests" has_logged 1000
    arrive "the first requests"
    for ending in "${endings[@]}"; do
        read -r what how <<< "$ending"
        "${what}_$how"
        await 30 "requests while there is no $what" has_logged $(($(logged) + REQUESTS_MISSED))
        "${what}_start"
        arrive "a $ending"
    done
    : > "$work/enough"
    wait "$load_pid" || fail "a request failed"
    nginx_stop
    arrive "the last request"
    compare
    send_again
    await 30 "a commit of all that was read" has_no_lag
    group
    shipper_stop
    clickhouse_stop
    broker_stop
}

# adapted FILE: one of the recipe's files, for this run.
adapted() {
    sed "s#/var/log/nginx#$work/nginx#; s#/var/spool/rsyslog#$work/rsyslog#; s#127\.0\.0\.1:9092#$address#" "$recipe/$1"
}

shipper_start() { rsyslog_launch < <(echo "global(workDirectory=\"$work/rsyslog\")"; adapted rsyslog.conf); }

# --- requests

# Ten files of known sizes, from empty to half a megabyte.
make_files() {
    local n
    for n in {0..9}; do head -c $((n * n * n * n * 80)) /dev/zero > "$work/nginx/files/$n"; done
}

# load: requests, until there were enough. A hundred at a time, with a breath between for the other processes of this host.
load() {
    local controls
    controls=$(printf '\001%.0s' {1..7000})
    # Long lines, most of all when they are escaped: seven times as long.
    request -A "$controls" "http://host/9?long=[1-3]"
    while [ ! -e "$work/enough" ]; do
        request "http://host/[0-9]?n=[1-8]"
        request --head "http://host/8?head=[1-3]"
        request --range 10-19 "http://host/9?part=[1-3]"
        request --data x "http://host/1"
        request -A '\ "quoted" ü' --referer $'tab\there' "http://host/missing/[1-8]?q=%22a%20b%22&\"'\\=ü"
        request --request-target '/not a request' "http://host/"
        sleep 0.2
    done
}

# request CURL-ARGUMENT...: notes status and size of each answer.
request() {
    curl -s -m 60 --unix-socket "$nginx_socket" -o /dev/null -w '%{http_code} %{size_download}\n' "$@" >> "$work/answers"
}

logged() { wc -l < "$access_log"; }
has_logged() { [ "$(logged)" -ge "$1" ]; }
has_arrived() { [ "$(clickhouse --query 'SELECT uniqExact(request_id) FROM logs.access')" -ge "$1" ]; }

# arrive EVENT: waits until what nginx has logged by now is in the table.
arrive() {
    local count
    count=$(logged)
    await 120 "$count requests after $1" has_arrived "$count"
    echo "after $1: all $count requests are in the table, $SECONDS s after the start"
}

# await SECONDS WHAT COMMAND...: until the command succeeds.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt "$deadline" ] || fail "$what: not there in time; $(last_complaints)"
        sleep 0.1
    done
}

# last_complaints: of ClickHouse without its stack traces, and of rsyslog.
last_complaints() { { grep '<Error>' "$work/clickhouse/errors" || true; cat "$work/rsyslog.log"; } | tail -n 5; }

# --- ClickHouse, of the caller's own: the package's files as they are unpacked, with its users and without its ports

clickhouse_start() {
    local dir=$work/clickhouse
    if [ ! -d "$dir" ]; then
        mkdir -p "$dir/config.d" "$dir/users.d" "$dir/data"
        adapted clickhouse-config.xml > "$dir/config.d/ringmill.xml"
        adapted clickhouse-users.xml > "$dir/users.d/ringmill.xml"
        cp "$clickhouse_root/etc/clickhouse-server/users.xml" "$dir"
        clickhouse_port=$(peer_free_port)
        # Nothing is merged unasked, so that repeated rows can be counted; the many small parts that leaves are no reason to refuse more.
        cat > "$dir/config.xml" <<CONF
<yandex>
    <merge_tree>
        <max_bytes_to_merge_at_max_space_in_pool>1</max_bytes_to_merge_at_max_space_in_pool>
        <parts_to_delay_insert>100000</parts_to_delay_insert> <parts_to_throw_insert>100000</parts_to_throw_insert>
    </merge_tree>
    <logger><level>information</level><log>$dir/log</log><errorlog>$dir/errors</errorlog></logger>
    <listen_host>127.0.0.1</listen_host> <tcp_port>$clickhouse_port</tcp_port>
    <path>$dir/data/</path> <tmp_path>$dir/data/tmp/</tmp_path> <mark_cache_size>67108864</mark_cache_size>
    <timezone>UTC</timezone> <users_config>users.xml</users_config>
    <default_profile>default</default_profile> <default_database>default</default_database>
</yandex>
CONF
    fi
    (from_clickhouse exec "$clickhouse_root/usr/sbin/clickhouse-server" --config-file "$dir/config.xml") >> "$dir/out" 2>&1 &
    clickhouse_pid=$!
    await 30 "ClickHouse" clickhouse_answers
}

clickhouse_answers() { clickhouse --query "SELECT 1" > /dev/null 2>&1; }

clickhouse_stop() {
    kill -TERM "$clickhouse_pid"
    ends_within 30 "$clickhouse_pid" || fail "ClickHouse did not end within 30 s"
}

clickhouse_kill() {
    kill -KILL "$clickhouse_pid"
    wait "$clickhouse_pid" 2> /dev/null || true
}

clickhouse() { from_clickhouse "$clickhouse_root/usr/bin/clickhouse-client" --port "$clickhouse_port" "$@"; }

from_clickhouse() {
    LD_LIBRARY_PATH=$(echo "$clickhouse_root"/usr/lib/*-linux-gnu):$(echo "$clickhouse_root"/lib/*-linux-gnu) "$@"
}

# --- what arrived

compare() {
    local requests records rows
    requests=$(logged)
    records=$(kcat -C -b "$address" -t access -e -q -X fetch.wait.max.ms=10 | wc -l)
    rows=$(rows)
    clickhouse --query "SELECT * FROM logs.access FINAL FORMAT JSONEachRow" > "$work/rows"
    clickhouse --query "SELECT status, count(), sum(bytes), sum(request_ms) FROM logs.access FINAL GROUP BY status ORDER BY status" > "$work/sums"
    python3 "$here/sink_compare.py" "$access_log" "$work/answers" "$work/rows" "$work/sums" || fail "the table is not what nginx logged"
    echo "repeated: $((records - requests)) lines by rsyslog, $((rows - records)) records by ClickHouse"
}

# send_again: the whole log once more, as the recipe says after a crash of rsyslog; the table is to stay what it is.
send_again() {
    local requests rows
    requests=$(logged)
    rows=$(rows)
    "$RINGMILL" produce access --file "$access_log" --broker "$address"
    await 60 "the log that was sent again" has_rows $((rows + requests))
    clickhouse --query "OPTIMIZE TABLE logs.access FINAL"
    [ "$(rows)" = "$requests" ] || fail "of $requests requests, all sent once more, $(rows) rows were made"
}

group() { "$RINGMILL" group describe clickhouse --broker "$address"; }
has_no_lag() { group 2> /dev/null | grep -q ', lag 0$'; }

rows() { clickhouse --query "SELECT count() FROM logs.access"; }
has_rows() { [ "$(rows)" -ge "$1" ]; }

main
