#!/bin/bash
# Log shippers from Debian's packages against the real broker, with real logs: rsyslog omkafka, syslog-ng kafka-c, collectd write_kafka.
#
# rsyslog and syslog-ng follow a file and ship it with every codec they have, acks -1, while the broker is killed, stopped and started again;
# every byte and its order are compared. syslog-ng also ships what its `loggen` sends, collectd what it measures. A shipper repeats
# what was not acknowledged when the broker died, so the table of topics says what each may promise. Packages that apt would not
# have beside rsyslog are unpacked under target/interop and run from there.
#
# Usage: shippers.sh BINARY_DIR [--rewrite-readme]. The table of what passed goes to target/interop/shippers.md; README.md has the same.
set -euo pipefail
RINGMILL=${1:?usage: $0 BINARY_DIR [--rewrite-readme]}/ringmill
readme_too=${2:-}
here=$(dirname "$0")
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
. "$here/../lib/nginx.sh"
. "$here/../lib/rsyslog.sh"

# name, what it is, how it is had, how it is tried
shippers=(
    "rsyslog    omkafka      have_rsyslog    ship_file"
    "syslog-ng  kafka-c      have_syslog_ng  ship_file_and_loggen"
    "collectd   write_kafka  have_collectd   ship_values"
)
# topic, what must hold after the broker was killed and stopped, librdkafka's settings. Before any kill all of them are equal to the file.
#   at-least-once   every line is there, the first arrivals are the file in its order, and nothing else is there
#   exactly-once    the topic is the file
topics=(
    "none    at-least-once  compression.codec=none"
    "gzip    at-least-once  compression.codec=gzip"
    "snappy  at-least-once  compression.codec=snappy"
    "lz4     at-least-once  compression.codec=lz4"
    "zstd    at-least-once  compression.codec=zstd"
    "once    exactly-once   compression.codec=zstd enable.idempotence=true"
)
# How the broker ends while a file is shipped, each time to be started again.
endings=(broker_kill broker_stop broker_kill)
cache=$(repository_root)/target/interop
unpacked=$cache/shippers
matrix=$cache/shippers.md
readme=$(repository_root)/README.md

main() {
    local row name module have try version skipped=() passed=()
    need_apt kcat || skip "kcat is not installed and cannot be installed here"
    mkdir -p "$cache"
    printf '%s\n' "| shipper | version | language | what passed |" "| --- | --- | --- | --- |" > "$matrix"
    real_input
    broker_start
    for row in "${shippers[@]}"; do
        read -r name module have try <<< "$row"
        if "$have"; then
            SECONDS=0
            "$try" "$name"
            shipper_stop
            version=$("version_$name")
            echo "| $name $module | $version, librdkafka $(librdkafka_version) | C | $achieved |" >> "$matrix"
            echo "$name $version: passed in $SECONDS s"
            passed+=("$name")
        else
            echo "SKIPPED $name: its packages cannot be had here"
            skipped+=("$name")
        fi
    done
    broker_stop
    "$RINGMILL" log verify "$work/data" > "$work/verify" || fail "log verify: $(cat "$work/verify")"
    cat "$matrix"
    if [ "$readme_too" = --rewrite-readme ]; then rewrite_readme; else check_readme; fi
    [ ${#skipped[@]} = 0 ] || skip "${skipped[*]} cannot be installed here; passed: ${passed[*]:-none}"
}

# The README's table may name older versions, and shippers that cannot be had here.
check_readme() {
    local row
    without_versions < "$readme" > "$work/readme"
    while read -r row; do
        grep -qxF "$row" "$work/readme" || fail "README.md lacks: $row; $0 BINARY_DIR --rewrite-readme puts it right"
    done < <(without_versions < "$matrix")
}

without_versions() { awk -F '[|]' -v OFS='|' '{ $3 = ""; print }'; }

rewrite_readme() {
    awk -v table="$matrix" '/^<!-- shippers: end/ { while ((getline line < table) > 0) print line; inside = 0 }
        !inside { print }
        /^<!-- shippers: begin/ { inside = 1 }' "$readme" > "$work/readme"
    cp "$work/readme" "$readme"
}

# --- what is shipped

# Lines of this host's package log, numbered so that repeated ones stay apart, and nginx's access log of real requests.
real_input() {
    real_log "$work/dpkg" 4000
    awk '{ printf "%06d %s\n", NR, $0 }' "$work/dpkg" > "$work/input"
    if have_nginx; then
        nginx_access_log 2000 > "$work/access"
        [ "$(wc -l < "$work/access")" = 2000 ] || fail "nginx logged $(wc -l < "$work/access") of 2000 requests"
        cat "$work/access" >> "$work/input"
    else
        echo "nginx cannot be had here: the package log alone is shipped"
    fi
    lines=$(wc -l < "$work/input")
    echo "input: $lines lines, $(wc -c < "$work/input") bytes"
}

# nginx_access_log REQUESTS: the log of a real nginx.
nginx_access_log() {
    nginx_start "access_log $work/nginx/access.log;"
    curl -s -m 60 --unix-socket "$nginx_socket" -A "ringmill-interop \"quoted\" ü" -o /dev/null "http://host/logs/[1-$1]?q=%22a%20b%22" || true
    nginx_stop
    cat "$work/nginx/access.log"
}

# append FROM TO: lines of the input to the file that the shipper follows.
append() { sed -n "$1,$2p" "$work/input" >> "$followed"; }

# grow FROM: appends the rest, a little at a time, for about two seconds: so that any moment is in the midst of it.
grow() {
    local from
    for from in $(seq "$1" 50 "$lines"); do
        append "$from" $((from + 49 < lines ? from + 49 : lines))
        sleep 0.03
    done
}

# --- how each is had and started; a start is given the name of the shipper, which is the prefix of its topics

have_rsyslog() { need_apt rsyslog rsyslog-kafka && rsyslog_is_there; }
have_syslog_ng() { unpack_apt "$unpacked/syslog-ng" syslog-ng-core syslog-ng-mod-rdkafka librdkafka1; }
have_collectd() { unpack_apt "$unpacked/collectd" collectd-core librdkafka1 libyajl2; }

# from_unpacked PACKAGE COMMAND...: runs it with the libraries that were unpacked beside it.
from_unpacked() {
    local root=$unpacked/$1 arch
    arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2> /dev/null || gcc -print-multiarch)
    SYSLOGNG_PREFIX="$root/usr" LD_LIBRARY_PATH="$root/usr/lib/syslog-ng:$root/usr/lib/$arch:$root/lib/$arch" "${@:2}"
}

start_rsyslog() {
    local row topic promise settings actions=
    for row in "${topics[@]}"; do
        read -r topic promise settings <<< "$row"
        actions+=$(rsyslog_action "rsyslog-$topic" "$(sed -E 's/([^ ]+)/"\1"/g; s/ /, /g' <<< "$settings")")$'\n'
    done
    rsyslog_start "$followed" "$actions"
}

start_syslog-ng() {
    local row topic promise settings root=$unpacked/syslog-ng
    {
        echo "@version: 3.38"
        echo "options { log-fifo-size(100000); };"
        echo "source file { file(\"$followed\" flags(no-parse) follow-freq(0.05) log-iw-size(10000) log-fetch-limit(1000)); };"
        echo "source loggen { unix-stream(\"$work/loggen.socket\" flags(no-parse) log-iw-size(10000)); };"
        for row in "${topics[@]}"; do
            read -r topic promise settings <<< "$row"
            syslog_ng_log file "syslog-ng-$topic" "$(sed -E 's/([^ =]+)=([^ ]+)/\1("\2")/g' <<< "$settings")"
        done
        syslog_ng_log loggen syslog-ng-loggen 'compression.codec("lz4")'
        echo "log { source(loggen); destination { file(\"$work/loggen.log\" template(\"\$MSG\\n\")); }; };"
    } > "$work/syslog-ng.conf"
    # A subshell that becomes the shipper, so that its id is the shipper's.
    (from_unpacked syslog-ng exec "$root/usr/sbin/syslog-ng" -F --no-caps --stderr -f "$work/syslog-ng.conf" \
        --module-path "$root/usr/lib/syslog-ng/3.38" -R "$work/syslog-ng.persist" -c "$work/syslog-ng.ctl" -p "$work/syslog-ng.pid") \
        > "$work/syslog-ng.log" 2>&1 &
    shipper_pid=$!
}

# syslog_ng_log SOURCE TOPIC SETTINGS
syslog_ng_log() {
    cat <<CONF
log { source($1); destination { kafka-c(bootstrap-servers("$address") topic("$2") message("\$MSG")
    config(request.required.acks("-1") linger.ms("20") reconnect.backoff.max.ms("500") $3)); }; };
CONF
}

# --- a file, over the broker's ends

ship_file() {
    local shipper=$1 row topic promise settings half=$((lines / 2)) grower_pid ending
    followed=$work/$shipper.followed
    : > "$followed"
    "start_$shipper"
    append 1 "$half"
    for row in "${topics[@]}"; do
        read -r topic promise settings <<< "$row"
        await_lines "$shipper" "$topic" "$half"
        head -n "$half" "$work/input" | cmp - "$work/out" || fail "$shipper, $topic: what arrived differs from the file"
        [ "$topic" = once ] || [ "$(stored_codecs "$shipper-$topic")" = "$topic " ] ||
            fail "$shipper: asked for $topic, stored: $(stored_codecs "$shipper-$topic")"
    done
    grow $((half + 1)) &
    grower_pid=$!
    for ending in "${endings[@]}"; do
        sleep 0.5
        "$ending"
        sleep 0.1
        broker_start
    done
    wait "$grower_pid"
    for row in "${topics[@]}"; do
        read -r topic promise settings <<< "$row"
        await_lines "$shipper" "$topic" "$lines"
        keeps_promise "$promise" || fail "$shipper, $topic: not $promise after ${endings[*]}"
        echo "$shipper, $topic: $promise over ${endings[*]}, $(($(wc -l < "$work/out") - lines)) lines more than once"
    done
    achieved="a file in every byte and its order with none, gzip, snappy, lz4, zstd; over kills and a stop of the broker nothing is lost, and idempotent nothing comes twice"
}

# await_lines SHIPPER TOPIC COUNT: waits until so many different lines are in the topic; what is in it is then in $work/out.
await_lines() {
    for _ in $(seq 150); do
        timeout 30 kcat -C -b "$address" -t "$1-$2" -p 0 -o beginning -e -q -X fetch.wait.max.ms=10 > "$work/out" 2> /dev/null || true
        [ "$(sort -u "$work/out" | wc -l)" -ge "$3" ] && return 0
        kill -0 "$shipper_pid" 2> /dev/null || fail "$1 ended: $(cat "$work/$1.log")"
        sleep 0.2
    done
    fail "$1, $2: only $(sort -u "$work/out" | wc -l) of $3 lines arrived within 30 s: $(tail -n 5 "$work/$1.log")"
}

keeps_promise() {
    case $1 in
        at-least-once) awk '!seen[$0]++' "$work/out" | cmp "$work/input" - ;;
        exactly-once) cmp "$work/input" "$work/out" ;;
    esac
}

# --- a rate, from loggen

ship_file_and_loggen() {
    local count=6000 shipper=$1 bin=$unpacked/syslog-ng/usr/bin
    ship_file "$shipper"
    from_unpacked syslog-ng timeout 60 "$bin/loggen" --unix --stream --rate 5000 --number "$count" --size 300 --quiet "$work/loggen.socket" \
        > "$work/loggen.said" 2>&1 || fail "loggen: $(cat "$work/loggen.said")"
    await_lines "$shipper" loggen "$count"
    cmp "$work/loggen.log" "$work/out" || fail "$shipper: what arrived differs from what loggen sent"
    seq -f '%010.0f' 0 $((count - 1)) | cmp - <(sed -nE 's/.* seq: ([0-9]+),.*/\1/p' "$work/out") || fail "loggen's lines are not in their order"
    echo "$shipper, loggen: $count lines in order"
    achieved+="; loggen at 5000 lines/s"
}

# --- measurements, from collectd

# topic, format, librdkafka's settings: the same values go to each.
value_topics=(
    "json-none         JSON      compression.codec=none"
    "json-gzip         JSON      compression.codec=gzip"
    "command-snappy    Command   compression.codec=snappy"
    "command-lz4       Command   compression.codec=lz4"
    "graphite-zstd     Graphite  compression.codec=zstd"
)

start_collectd() {
    local row topic format settings root=$unpacked/collectd
    mkdir -p "$work/collectd"
    {
        # One writer, for several would swap the values of one measurement.
        printf 'BaseDir "%s"\nPluginDir "%s"\nTypesDB "%s"\nInterval 0.1\nWriteThreads 1\n' \
            "$work/collectd" "$root/usr/lib/collectd" "$root/usr/share/collectd/types.db"
        printf 'LoadPlugin %s\n' load cpu memory write_kafka
        printf '<Plugin write_kafka>\n  Property "metadata.broker.list" "%s"\n' "$address"
        for row in "${value_topics[@]}"; do
            read -r topic format settings <<< "$row"
            printf '  <Topic "collectd-%s">\n    Format %s\n    StoreRates false\n    Property "request.required.acks" "-1"\n' "$topic" "$format"
            sed -E 's/([^ =]+)=([^ ]+) ?/    Property "\1" "\2"\n/g' <<< "$settings"
            printf '  </Topic>\n'
        done
        printf '</Plugin>\n'
    } > "$work/collectd.conf"
    (from_unpacked collectd exec "$root/usr/sbin/collectd" -f -C "$work/collectd.conf" -P "$work/collectd.pid") > "$work/collectd.log" 2>&1 &
    shipper_pid=$!
}

ship_values() {
    local shipper=$1 row topic format settings asked newest records=()
    need_command python3 python3 || fail "python3 is needed to read collectd's records"
    start_collectd
    sleep 3
    # What is younger than this may be on its way to one topic and not to another.
    newest=$(($(date +%s) - 1))
    for row in "${value_topics[@]}"; do
        read -r topic format settings <<< "$row"
        await_lines "$shipper" "$topic" 100
        mv "$work/out" "$work/values-$topic"
        records+=("$format=$work/values-$topic")
        asked=${topic#*-}
        [ "$(stored_codecs "$shipper-$topic")" = "$asked " ] || fail "$shipper: asked for $asked, stored: $(stored_codecs "$shipper-$topic")"
    done
    python3 "$here/collectd_values.py" "$newest" "${records[@]}" || fail "$shipper: the records do not say the same"
    achieved="JSON, Command and Graphite records with none, gzip, snappy, lz4, zstd: the same values in their order"
}

# --- who they were

version_rsyslog() { rsyslog_version; }
version_syslog-ng() { from_unpacked syslog-ng "$unpacked/syslog-ng/usr/sbin/syslog-ng" -V | sed -nE '1s/.*\(([0-9.]+)\).*/\1/p'; }
version_collectd() { from_unpacked collectd "$unpacked/collectd/usr/sbin/collectd" -h | sed -nE 's/^collectd ([0-9]+(\.[0-9]+)+).*/\1/p'; }
librdkafka_version() { dpkg-query -W -f '${source:Upstream-Version}' librdkafka1; }

main
