#!/bin/bash
# The comparison with Apache Kafka, with loads so small that they say nothing: that both start, are loaded, and stand in the report.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
report=$("$here/../compare" "${1:?usage: $0 BINARY_DIR}" --heap 512m --bytes 10MB --runs 1 --warm-up-runs 0 --paced-duration 200ms)
echo "$report"
for row in "produce 1 KB: ringmill, synced" "produce 100 B: kafka-synced, synced" "consume 1 KB: kafka, unsynced" \
    "produce 1 KB, paced: ringmill-cached, unsynced" "ringmill-cached / kafka, both unsynced"; do
    grep -qF "$row" <<< "$report" || { echo "FAILED: no row \`$row\`" >&2; exit 1; }
done
