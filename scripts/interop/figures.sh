#!/bin/bash
# What the README shows of speed, with loads so small that they say nothing: that each of them runs and has its row.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
results=$(mktemp -d "${TMPDIR:-/tmp}/ringmill-figures.XXXXXX")
trap 'rm -rf "$results"' EXIT
tables=$("$here/../figures" "${1:?usage: $0 BINARY_DIR}" --parts loads --runs 1 --bytes 5MB --duration 500ms --results "$results")
echo "$tables"
for row in "produce 1 × 1 | yes" "produce 4 × 5, 100 B | no" "consume 4" "mixed 4 + 4: consume" "produce at 50 MB/s, 100 a batch | yes"; do
    grep -qF "| $row |" <<< "$tables" || { echo "FAILED: no row \`$row\`" >&2; exit 1; }
done
