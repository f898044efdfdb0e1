#!/bin/bash
# Java programs of the last ten years: old versions of Kafka's client write with every codec and acks, read all back, administrate,
# and share a group.
#
# What they do is drivers/kafka_clients/old. The newest version is one of the clients that clients.sh tries.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
. "$here/../lib/maven.sh"
driver=$here/drivers/kafka_clients
cache=$(repository_root)/target/interop/kafka_clients

# The first with record batches of today, the last without AdminClient's new ways, the first with zstd, and the last of 2 and 3.
old_versions=(0.11.0.3 1.1.1 2.1.1 2.8.2 3.9.1)

# install_old VERSION: its jars, and the programs compiled against them.
install_old() {
    local dir=$cache/old/$1 sources=("$driver/old/Old.java" "$driver/old/OldGroup.java")
    [ "$1" = 0.11.0.3 ] || sources+=("$driver/old/OldAdmin.java")
    if [ ! -e "$dir/jars/.complete" ]; then
        maven_ready > "$work/install" 2>&1 && timeout 200 mvn -q -B -f "$driver/old/pom.xml" dependency:copy-dependencies \
            -Dkafka.version="$1" -DoutputDirectory="$dir/jars" > "$work/install" 2>&1 ||
            skip "Maven Central did not give kafka-clients $1: $(grep -m 1 ERROR "$work/install")"
        touch "$dir/jars/.complete"
    fi
    if [ ! -e "$dir/compiled" ] || [ -n "$(find "$driver/old" -newer "$dir/compiled")" ]; then
        javac -nowarn -cp "$dir/jars/*" -d "$dir/classes" "${sources[@]}" 2> "$work/install" || fail "$(cat "$work/install")"
        touch "$dir/compiled"
    fi
}

# codecs_of VERSION
codecs_of() {
    case $1 in
        0.* | 1.* | 2.0*) echo none gzip snappy lz4 ;;
        *) echo none gzip snappy lz4 zstd ;;
    esac
}

need_command javac openjdk-17-jdk-headless || skip "no javac, and openjdk-17-jdk-headless cannot be installed"
for version in "${old_versions[@]}"; do
    install_old "$version"
done
# The broker looks into each record that they write.
export RINGMILL__TOPIC__STRICT_RECORDS=true
broker_start
for version in "${old_versions[@]}"; do
    # shellcheck disable=SC2046
    timeout 100 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
        -cp "$cache/old/$version/classes:$cache/old/$version/jars/*" Old "$address" "$version" $(codecs_of "$version") ||
        fail "kafka-clients $version"
done
broker_stop
"$RINGMILL" log verify "$work/data" > "$work/verify" || fail "log verify: $(cat "$work/verify")"
