#!/bin/bash
# The clients' ceilings, with loads so small that they say nothing: that each client there is sends all to sink and broker, and has its row.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
report=$("$here/../ceiling" "${1:?usage: $0 BINARY_DIR}" --megabytes 5 --runs 1)
echo "$report"
rows=$(grep -cE '^ +10{2,3} B  (java|librdkafka|franz_go) .*%.*%$' <<< "$report" || true)
left_out=$(grep -c '^without ' <<< "$report" || true)
[ "$rows" = $((2 * (3 - left_out))) ] || { echo "FAILED: $rows rows, $left_out clients left out" >&2; exit 1; }
[ "$rows" -gt 0 ] || exit 77
