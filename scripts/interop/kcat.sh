#!/bin/bash
# kcat (librdkafka) writes a real log with every codec; the codec must arrive on disk, and every line must come back in order.
#
# Debian's librdkafka 2.0.2 silently sends gzip, snappy and lz4 uncompressed when a broker does not offer Produce from
# version 0, hence the look at what is stored.
set -euo pipefail
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$(dirname "$0")/../lib/broker.sh"
. "$(dirname "$0")/../lib/install.sh"
need_apt kcat || skip "kcat is not installed and cannot be installed here"

real_log "$work/in" 5000
broker_start
for codec in none gzip snappy lz4 zstd; do
    topic=kcat-$codec
    kcat -P -b "$address" -t "$topic" -p 0 -z "$codec" -X linger.ms=50 -l "$work/in" || fail "kcat could not produce with $codec"
    kcat -C -b "$address" -t "$topic" -p 0 -o beginning -e -q > "$work/out" || fail "kcat could not consume $codec"
    cmp "$work/in" "$work/out" || fail "the lines that came back from $topic differ"
    stored=$(stored_codecs "$topic")
    [ "$stored" = "$codec " ] || fail "asked for $codec, stored: $stored"
    echo "$codec: $(wc -l < "$work/out") lines in order, stored as $codec"
done
kcat -L -b "$address" > "$work/metadata" || fail "kcat -L"
grep -q 'topic "kcat-zstd" with 1 partitions' "$work/metadata" || fail "kcat -L does not list the topic"
kcat -Q -b "$address" -t kcat-none:0:-1 | grep -q "offset $(wc -l < "$work/in")" || fail "kcat -Q disagrees about the end"
broker_stop
"$RINGMILL" log verify "$work/data" > "$work/verify" || fail "log verify: $(cat "$work/verify")"
echo "stopped cleanly, every batch verified"
