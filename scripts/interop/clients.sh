#!/bin/bash
# Tries every client library that has a driver here on one table of scenarios, and prints what each of them passed.
#
# Usage: clients.sh BINARY_DIR [--rewrite-readme] [--scenario WORDS] [--peer kafka] [CLIENT...]
# Without names it takes all of scripts/interop/drivers/. The table is scenarios.py; the code that runs it is runner/. --peer kafka tries the
# rows about groups on Apache Kafka: what they find in it is wrong with them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '4p' "$0" >&2; exit 2; }
. "$here/../lib/install.sh"
need_command python3 python3 || { echo "python3 is not installed and cannot be installed here"; exit 77; }
# Modules are imported from the source tree, which is to stay clean.
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$here"
python3 -m runner.selftest
exec python3 -m runner "$@"
