#!/bin/bash
# Kafka's own command-line tools, from Maven Central, against the broker and against its files.
#
# Usage: kafka_tools.sh BINARY_DIR [--peer kafka]
#
# Which calls: kafka_tools/rows.py, and group_rows.py for groups. The dump of segments runs while the broker serves (closed segments), after
# it has stopped (all), and once more on indexes that the broker had to make anew; some of the topics are compacted. --peer kafka tries the
# calls about groups on Apache Kafka: what they find in it is wrong with them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
. "$here/../lib/maven.sh"

# install_tools: the jars and our classes, compiled, under $cache; what is there stays.
install_tools() {
    mkdir -p "$cache"
    need_command javac openjdk-17-jdk-headless || skip "no javac, and openjdk-17-jdk-headless cannot be installed"
    need_command python3 python3 || skip "no python3, and it cannot be installed"
    [ -e "$cache/jars/.complete" ] || fetch jars "$(maven_newest org.apache.kafka kafka-tools || echo unknown)"
    # Its DumpLogSegments is the one before the tool was rewritten, and what many have.
    fetch jars-old 3.9.1
    [ -n "$(find "$cache/compiled" -newer "$here/kafka_tools/Launcher.java" -newer "$here/kafka_tools/TopicConfigs.java" 2> /dev/null)" ] ||
        { javac -Xlint:-removal -cp "$cache/jars/*" -d "$cache/classes" "$here"/kafka_tools/*.java && touch "$cache/compiled"; }
}

# fetch DIR VERSION: kafka-tools, and everything else of Kafka in the same version: Maven Central may have a newer one of some parts.
fetch() {
    [ ! -e "$cache/$1/.complete" ] || return 0
    maven_ready || skip "no mvn, and maven cannot be installed"
    rm -rf "${cache:?}/$1"
    timeout 400 mvn -q -B -f "$here/kafka_tools/pom.xml" dependency:copy-dependencies -Dkafka.version="$2" \
        -DoutputDirectory="$cache/$1" > "$cache/mvn.log" 2>&1 ||
        skip "Maven Central did not give kafka-tools $2: $(grep -m 1 ERROR "$cache/mvn.log")"
    touch "$cache/$1/.complete"
}

# check_peer: the calls about groups on Apache Kafka.
check_peer() {
    local kafka=$here/../peers/kafka.sh code=0
    "$kafka" start --heap 384m --dir "$work/peer" --set offsets.topic.num.partitions=4 > "$work/peer.log" ||
        { cat "$work/peer.log"; exit 1; }
    timeout 300 python3 "$here/kafka_tools/check.py" groups "$cache" "$work" "$(cat "$work/peer/address")" || code=$?
    "$kafka" stop "$work/peer"
    return $code
}

cache=$(repository_root)/target/interop/kafka_tools
export PYTHONDONTWRITEBYTECODE=1 RINGMILL
install_tools
mkdir "$work/tools"
if [ "${2:-} ${3:-}" = "--peer kafka" ]; then
    check_peer
    exit
fi
real_log "$work/tools/lines.txt" 4000
# Compaction begins at once when something is new, and rests while nothing is: what the tools read stays as it is.
broker_start --set broker.log.cleaner.backoff.ms=100
timeout 500 python3 "$here/kafka_tools/check.py" serving "$cache" "$work" "$address" || fail "Kafka's tools against the broker"
broker_stop
timeout 100 python3 "$here/kafka_tools/check.py" stopped "$cache" "$work" || fail "Kafka's tools on the files of a stopped broker"
# Indexes are derived: made anew from the log they must be as good, and so must those of a broker that was killed.
rm "$work"/data/*/*.index "$work"/data/*/*.timeindex
broker_start
broker_kill
broker_start
broker_stop
timeout 100 python3 "$here/kafka_tools/check.py" stopped "$cache" "$work" || fail "Kafka's tools on indexes made anew"
