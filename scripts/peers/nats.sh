#!/bin/bash
# Runs Debian's NATS server for JetStream, to compare with: one server, streams in files, at the server's own defaults.
#
# Usage: scripts/peers/nats.sh start [--port N] [--dir DIR] [--set "NAME: VALUE"]...
#        scripts/peers/nats.sh stop DIR [--keep]
#
# start unpacks the package (once, under target/peers; nothing is installed, no service started), starts it on 127.0.0.1 on an empty
# directory, waits until it answers, and prints its process id and address. stop ends it in order and removes the directory.
#
#   --port N             [a free one]
#   --dir DIR            an empty or new directory on the disk to measure, or one from before [a new one under $TMPDIR]
#   --set "NAME: VALUE"  one more line of its configuration
#   --keep               leaves the data where they are; start --dir DIR serves them again
#
# Answers come from the page cache; this version syncs every two minutes and has no setting for it, so there is no --synced.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/peer.sh"
. "$here/../lib/install.sh"

readonly START_SECONDS_MAX=60

main() {
    case "${1:-}" in
        start) shift; start "$@" ;;
        stop) shift; peer_stop_as nats-server "$@" ;;
        -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0" ;;
        *) sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
}

start() {
    local unpacked
    while [ $# -gt 0 ]; do
        peer_option "$@"
        shift 2
    done
    unpacked=$(repository_root)/target/peers/nats
    unpack_apt "$unpacked" nats-server >&2 || peer_lacks "Debian's nats-server cannot be had here"
    peer_place nats
    configure > "$peer_dir/nats.conf"
    peer_launch "$unpacked/usr/sbin/nats-server" -c "$peer_dir/nats.conf"
    peer_wait "$START_SECONDS_MAX" answers "$peer_port"
    peer_say peer "$("$unpacked/usr/sbin/nats-server" --version), JetStream in files, one replica"
    peer_say durability "unsynced: answers come from the page cache, a sync every two minutes"
    peer_say_where "$peer_dir/nats.conf" nats://
}

# answers PORT: whether a server listens there whose JetStream has begun.
answers() {
    exec 3<> "/dev/tcp/127.0.0.1/$1" || return 1
    head -n 1 <&3 | grep -q '^INFO .*"jetstream":true'
}

# configure: prints its configuration.
configure() {
    cat <<CONF
listen: "127.0.0.1:$peer_port"
jetstream {
    store_dir: "$peer_dir/data"
    # As much as the disk has; else the server takes three quarters of what is free when it starts.
    max_file_store: $(($(df --output=avail -B1 "$peer_dir" | tail -n 1)))
}
CONF
    for more in "${peer_settings[@]}"; do echo "$more"; done
}

main "$@"
