#!/bin/bash
# rsyslog's omkafka ships a real log while the broker is killed and started again: no line may be lost.
#
# A shipper repeats what was not acknowledged, so lines may come twice; the first arrivals must be the file, in its order
# per attempt. What is required: every line is there, and nothing is there that was not sent.
set -euo pipefail
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$(dirname "$0")/../lib/broker.sh"
. "$(dirname "$0")/../lib/install.sh"
need_apt kcat rsyslog rsyslog-kafka || skip "kcat, rsyslog or rsyslog-kafka is not installed and cannot be installed here"
RSYSLOGD=$(command -v rsyslogd || echo /usr/sbin/rsyslogd)

lines=4000
real_log "$work/whole" "$lines"
lines=$(wc -l < "$work/whole")
# Numbered, so that repeated lines of the log stay apart.
awk '{ printf "%06d %s\n", NR, $0 }' "$work/whole" > "$work/numbered"

broker_start
mkdir "$work/spool"
: > "$work/in.log"
cat > "$work/rsyslog.conf" <<CONF
global(workDirectory="$work/spool" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="$work/in.log" tag="dpkg" ruleset="ship")
ruleset(name="ship") {
    action(type="omkafka" broker=["$address"] topic="logs" template="line"
           partitions.auto="off" partitions.usefixed="0" resubmitOnFailure="on" keepFailedMessages="on" failedMsgFile="$work/spool/failed"
           action.resumeRetryCount="-1" action.resumeInterval="1"
           confParam=["compression.codec=zstd", "request.required.acks=-1", "linger.ms=20", "message.timeout.ms=60000", "reconnect.backoff.max.ms=500"])
}
CONF
"$RSYSLOGD" -n -f "$work/rsyslog.conf" -i "$work/rsyslog.pid" > "$work/rsyslog.log" 2>&1 &
shipper_pid=$!

arrived() { kcat -C -b "$address" -t logs -p 0 -o beginning -e -q 2> /dev/null | sed 's/^ //'; }

# Four portions; the broker dies without warning after the first three of them were written to the file.
quarter=$(((lines + 3) / 4))
for part in 0 1 2 3; do
    sed -n "$((part * quarter + 1)),$(((part + 1) * quarter))p" "$work/numbered" >> "$work/in.log"
    sleep 0.7
    if [ "$part" -lt 3 ]; then
        broker_kill
        sleep 0.3
        broker_start
    fi
done

for _ in $(seq 120); do
    arrived > "$work/out" || true
    [ "$(sort -u "$work/out" | wc -l)" -ge "$lines" ] && break
    kill -0 "$shipper_pid" 2> /dev/null || fail "rsyslog ended: $(cat "$work/rsyslog.log")"
    sleep 0.5
done
sort -u "$work/out" > "$work/out.set"
sort -u "$work/numbered" > "$work/in.set"
cmp "$work/in.set" "$work/out.set" || fail "$(comm -23 "$work/in.set" "$work/out.set" | wc -l) of $lines lines are missing, $(comm -13 "$work/in.set" "$work/out.set" | wc -l) were never sent"
echo "$lines lines, 3 kills: all arrived, $(($(wc -l < "$work/out") - lines)) of them more than once"
kill -TERM "$shipper_pid" && wait "$shipper_pid" || true
shipper_pid=
broker_stop
"$RINGMILL" log verify "$work/data" > "$work/verify" || fail "log verify: $(cat "$work/verify")"
