#!/bin/bash
# Runs Debian's Redis for its Streams, to compare with, at the settings that its documentation recommends for a log that is kept.
#
# Usage: scripts/peers/redis.sh start [--synced] [--port N] [--dir DIR] [--set "NAME VALUE"]...
#        scripts/peers/redis.sh stop DIR [--keep]
#
# start unpacks the package (once, under target/peers; nothing is installed, no service started), starts it on 127.0.0.1 on an empty
# directory, waits until it answers, and prints its process id and address. stop ends it in order and removes the directory.
#
#   --synced            appendfsync always: a sync before each answer (one for all appends of a turn). Without it, appendfsync everysec:
#                       a power cut loses up to a second or two of what was acknowledged.
#   --port N            [a free one]
#   --dir DIR           an empty or new directory on the disk to measure, or one from before [a new one under $TMPDIR]
#   --set "NAME VALUE"  one more line of its configuration, which wins over ours
#   --keep              leaves the data where they are; start --dir DIR serves them again
#
# Redis holds all data in memory: it must have as much as is sent.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/peer.sh"
. "$here/../lib/install.sh"

readonly START_SECONDS_MAX=60

main() {
    case "${1:-}" in
        start) shift; start "$@" ;;
        stop) shift; peer_stop_as redis-server "$@" ;;
        -h | --help) sed -n '2,17s/^# \{0,1\}//p' "$0" ;;
        *) sed -n '2,17s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
}

start() {
    local fsync=everysec unpacked
    while [ $# -gt 0 ]; do
        case "$1" in
            --synced) fsync=always; shift ;;
            *) peer_option "$@"; shift 2 ;;
        esac
    done
    unpacked=$(repository_root)/target/peers/redis
    unpack_apt "$unpacked" redis-server redis-tools >&2 || peer_lacks "Debian's redis-server cannot be had here"
    peer_place redis
    configure "$fsync" > "$peer_dir/redis.conf"
    LD_LIBRARY_PATH=$(echo "$unpacked"/usr/lib/*-linux-gnu) peer_launch "$unpacked/usr/bin/redis-server" "$peer_dir/redis.conf"
    peer_wait "$START_SECONDS_MAX" answers "$peer_port"
    peer_say peer "$(LD_LIBRARY_PATH=$(echo "$unpacked"/usr/lib/*-linux-gnu) "$unpacked/usr/bin/redis-server" --version | cut -d' ' -f1-3)"
    if [ "$fsync" = always ]; then
        peer_say durability "synced: the append-only file is synced before answers (appendfsync always)"
    else
        peer_say durability "synced every second: a power cut loses what was acknowledged since (appendfsync everysec, Redis' default)"
    fi
    peer_say_where "$peer_dir/redis.conf" redis://
}

# answers PORT: whether a server that has read its data listens there.
answers() {
    exec 3<> "/dev/tcp/127.0.0.1/$1" || return 1
    printf 'PING\r\n' >&3
    [ "$(head -c 5 <&3)" = +PONG ]
}

# configure FSYNC: prints its configuration.
configure() {
    cat <<CONF
bind 127.0.0.1
port $peer_port
dir $peer_dir/data
daemonize no

# The append-only file is what keeps the data; snapshots would keep them twice, and a rewrite of the file belongs to another load.
appendonly yes
appendfsync $1
save ""
auto-aof-rewrite-percentage 0
CONF
    for more in "${peer_settings[@]}"; do echo "$more"; done
}

main "$@"
