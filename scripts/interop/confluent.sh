#!/bin/bash
# confluent-kafka from PyPI (a current librdkafka): idempotent and plain, acks 1 and all, read by offset, by timestamp and
# from both ends; every byte compared.
set -euo pipefail
here=$(dirname "$0")
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
venv=$(repository_root)/target/venv
python_venv "$venv" confluent-kafka || skip "confluent-kafka could not be installed from PyPI"

real_log "$work/in" 3000
broker_start
"$venv/bin/python" "$here/confluent.py" "$address" "$work/in" || fail "confluent-kafka"
broker_kill
broker_start
"$venv/bin/python" "$here/confluent.py" "$address" "$work/in" --read-only || fail "confluent-kafka after a kill and a restart"
broker_stop
