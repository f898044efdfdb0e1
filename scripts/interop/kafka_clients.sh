#!/bin/bash
# What Java programs do with a broker beyond the table of scenarios: administration, positions and refusals through Kafka's
# newest client, and writing, reading and administration through the clients of the last ten years.
#
# The checks are drivers/kafka_clients/src/{Administration,Positions,Refusals}.java and drivers/kafka_clients/old.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
RINGMILL=${1:?usage: $0 BINARY_DIR}/ringmill
. "$here/../lib/broker.sh"
. "$here/../lib/install.sh"
driver=$here/drivers/kafka_clients
cache=$(repository_root)/target/interop/kafka_clients

# The first with record batches of today, the last without AdminClient's new ways, the first with zstd, and the last of 2 and 3.
old_versions=(0.11.0.3 1.1.1 2.1.1 2.8.2 3.9.1)

# install_old VERSION: its jars, and the programs compiled against them.
install_old() {
    local dir=$cache/old/$1 sources=("$driver/old/Old.java")
    [ "$1" = 0.11.0.3 ] || sources+=("$driver/old/OldAdmin.java")
    if [ ! -e "$dir/jars/.complete" ]; then
        timeout 200 mvn -q -B -f "$driver/old/pom.xml" dependency:copy-dependencies -Dkafka.version="$1" -DoutputDirectory="$dir/jars" || return 1
        touch "$dir/jars/.complete"
    fi
    if [ ! -e "$dir/compiled" ] || [ -n "$(find "$driver/old" -newer "$dir/compiled")" ]; then
        javac -nowarn -cp "$dir/jars/*" -d "$dir/classes" "${sources[@]}" || return 1
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

status=0
said=$("$driver/install" "$cache" 2>&1) || status=$?
[ $status != 77 ] || skip "$said"
[ $status = 0 ] || fail "kafka-clients does not compile: $said"
broker_start
timeout 200 "$driver/start" "$cache" "$address" Extras || fail "kafka-clients of today"
for version in "${old_versions[@]}"; do
    install_old "$version" > "$work/install" 2>&1 || fail "kafka-clients $version cannot be had: $(cat "$work/install")"
    # shellcheck disable=SC2046
    timeout 100 java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
        -cp "$cache/old/$version/classes:$cache/old/$version/jars/*" Old "$address" "$version" $(codecs_of "$version") ||
        fail "kafka-clients $version"
done
broker_stop
"$RINGMILL" log verify "$work/data" > "$work/verify" || fail "log verify: $(cat "$work/verify")"
