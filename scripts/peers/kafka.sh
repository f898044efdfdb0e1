#!/bin/bash
# Runs Apache Kafka as one node, at the settings that its documentation recommends, to compare with: from its jars alone.
#
# Usage: scripts/peers/kafka.sh start [--synced] [--heap SIZE] [--port N] [--dir DIR] [--version V] [--set NAME=VALUE]...
#        scripts/peers/kafka.sh stop DIR [--keep]
#        scripts/peers/kafka.sh jars
#
# start fetches the jars from Maven Central (once, to target/peers), formats a new data directory, starts the broker on 127.0.0.1, waits
# until it answers, and prints its process id and address. stop ends it in order and removes the directory. jars only fetches, and prints where
# the jars are.
#
#   --synced          log.flush.interval.messages=1: every append is followed by a sync before its answer. Without it Kafka answers
#                     as soon as the records are in the page cache: a power cut loses what was acknowledged.
#   --heap SIZE       the JVM's heap, smallest and largest [1g, as Kafka's own start script has it]
#   --port N          [a free one]
#   --dir DIR         an empty or new directory on the disk to measure, or one from before [a new one under $TMPDIR]
#   --version V       another Kafka than the one whose jars' checksums are kept here; Maven's own checksums are still compared
#   --set NAME=VALUE  one more line of server.properties, which wins over ours
#   --keep            leaves the data where they are; start --dir DIR serves them again
#
# Needs Java 17, and mvn for the first start.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/peer.sh"
. "$here/../lib/maven.sh"
. "$here/../lib/install.sh"

# The newest that Maven Central holds whole: 4.4.0 lacks its kafka-tools-api.
readonly PINNED_VERSION=4.3.1
# What Kafka's documentation asks for, under "Java Version".
readonly JVM_FLAGS=(-server -XX:MetaspaceSize=96m -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35
    -XX:G1HeapRegionSize=16M -XX:MinMetaspaceFreeRatio=50 -XX:MaxMetaspaceFreeRatio=80 -XX:+ExplicitGCInvokesConcurrent
    -Djava.awt.headless=true)
readonly START_SECONDS_MAX=60

usage() {
    sed -n '2,23s/^# \{0,1\}//p' "$0"
}

main() {
    case "${1:-}" in
        start) shift; start "$@" ;;
        stop) shift; peer_stop_as kafka.Kafka "$@" ;;
        jars) fetch "$PINNED_VERSION"; echo "$jars" ;;
        -h | --help) usage ;;
        *) usage >&2; exit 2 ;;
    esac
}

start() {
    local synced=no heap=1g version=$PINNED_VERSION
    while [ $# -gt 0 ]; do
        case "$1" in
            --synced) synced=yes; shift; continue ;;
            --heap) heap=${2:?--heap needs a size} ;;
            --version) version=${2:?--version needs one} ;;
            *) peer_option "$@" ;;
        esac
        shift 2
    done
    need_command java openjdk-17-jre-headless || peer_lacks "no java, and openjdk-17-jre-headless cannot be installed"
    fetch "$version"
    peer_place kafka
    configure "$synced" > "$peer_dir/server.properties"
    # A directory from before keeps its format and its data.
    [ -e "$peer_dir/data/meta.properties" ] || tool format --cluster-id "$(tool random-uuid)" > "$peer_dir/format.log" 2>&1 ||
        peer_fail "the storage could not be formatted: $(tail -n 3 "$peer_dir/format.log")"
    # Kafka asks for 100,000 files or more; what this user may have is the most that can be given.
    ulimit -n "$(ulimit -H -n)"
    peer_launch java "-Xms$heap" "-Xmx$heap" "${JVM_FLAGS[@]}" "-Dlog4j2.configurationFile=$here/kafka/log4j2.properties" \
        -cp "$jars/*" kafka.Kafka "$peer_dir/server.properties"
    peer_wait "$START_SECONDS_MAX" answers "$peer_port"
    say "$version" "$synced" "$heap"
}

say() {
    peer_say peer "Apache Kafka $1, one KRaft node, heap $3, $(java -version 2>&1 | sed -n 2p)"
    if [ "$2" = yes ]; then
        peer_say durability "synced: every append is flushed before its answer (log.flush.interval.messages=1)"
    else
        peer_say durability "unsynced: answers come from the page cache, the kernel writes when it likes (Kafka's default)"
    fi
    peer_say_where "$peer_dir/server.properties"
}

# fetch VERSION: its jars under $jars, each compared with the checksum that Maven Central gives and, for the pinned version, with ours.
fetch() {
    jars=$(repository_root)/target/peers/kafka-$1
    if [ ! -e "$jars/.complete" ]; then
        maven_ready || peer_lacks "no mvn, and maven cannot be installed"
        rm -rf "$jars"
        mkdir -p "$jars"
        echo "fetching Kafka $1 from Maven Central ..." >&2
        timeout 600 mvn -q -B --strict-checksums -f "$here/kafka/pom.xml" dependency:copy-dependencies -Dkafka.version="$1" \
            -DincludeScope=runtime -DoutputDirectory="$jars" > "$jars.log" 2>&1 ||
            peer_lacks "Maven Central did not give Kafka $1: $(grep -m 1 ERROR "$jars.log")"
        touch "$jars/.complete"
    fi
    [ "$1" != "$PINNED_VERSION" ] || (cd "$jars" && sha256sum --quiet --check "$here/kafka/jars.sha256" >&2) ||
        peer_fail "the jars in $jars are not those of Kafka $1: remove them, and they are fetched again"
}

# tool ARGUMENT...: Kafka's StorageTool.
tool() {
    java -Xmx256m -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" -cp "$jars/*" kafka.tools.StorageTool "$@" \
        $([ "$1" = format ] && echo "--config $peer_dir/server.properties")
}

# answers PORT: whether a broker that is ready to serve listens there, by asking for its versions. It accepts no connection before.
answers() {
    exec 3<> "/dev/tcp/127.0.0.1/$1" || return 1
    printf '\0\0\0\012\0\022\0\0\0\0\0\07\377\377' >&3
    # Length and correlation id of the answer.
    [ "$(head -c 8 <&3 | tail -c 4 | od -An -tx1 | tr -d ' \n')" = 00000007 ]
}

# configure SYNCED: prints server.properties.
configure() {
    local controller_port more
    controller_port=$(peer_free_port)
    cat <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
listeners=PLAINTEXT://127.0.0.1:$peer_port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$peer_port
controller.listener.names=CONTROLLER
log.dirs=$peer_dir/data

# One node has nobody to replicate to.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0

# What one load deletes is not to burden the next, whosever that is; Kafka waits a minute else.
log.segment.delete.delay.ms=0

# Kafka's own values for a machine like this; --set tries others. Socket buffers are left to the kernel, which sizes them as they are used,
# where Kafka's 100 KiB hold back one fast connection.
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=-1
socket.receive.buffer.bytes=-1
log.segment.bytes=1073741824
# Loads with large batches are not refused.
message.max.bytes=16777216
CONF
    [ "$1" = no ] || echo "log.flush.interval.messages=1"
    for more in "${peer_settings[@]}"; do echo "$more"; done
}

main "$@"
