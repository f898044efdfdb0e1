# Puts Apache Kafka in Ringmill's place: the functions of broker.sh, by scripts/peers/kafka.sh. Sourced after broker.sh and peer.sh by checks
# whose failure may be the client's own.

kafka=$(repository_root)/scripts/peers/kafka.sh

broker_start() {
    local options=()
    [ -z "$address" ] || options=(--port "${address#*:}")
    "$kafka" start --dir "$work/kafka" --heap 512m "${options[@]}" > "$work/kafka.said" || fail "Kafka did not start"
    broker_pid=$(cat "$work/kafka/pid")
    broker_log=$work/kafka/log
    address=$(cat "$work/kafka/address")
}

broker_kill() {
    kill -KILL "$broker_pid"
    ends_within 10 "$broker_pid" || fail "process $broker_pid is still there"
    broker_pid=
}

broker_stop() {
    "$kafka" stop "$work/kafka" --keep
    broker_pid=
}
