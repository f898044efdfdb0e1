#!/bin/bash
# Runs Debian's RabbitMQ for its streams, to compare with: one node with the stream plugin, at the server's own defaults.
#
# Usage: scripts/peers/rabbitmq.sh start [--port N] [--dir DIR] [--set "NAME = VALUE"]...
#        scripts/peers/rabbitmq.sh stop DIR [--keep]
#
# start unpacks the package and its Erlang (once, under target/peers; nothing is installed, no service started), starts a node on 127.0.0.1
# on an empty directory, waits until it answers, and prints its process id and address. stop ends it in order and removes the directory.
#
#   --port N              of the stream protocol [a free one]
#   --dir DIR             an empty or new directory on the disk to measure, or one from before [a new one under $TMPDIR]
#   --set "NAME = VALUE"  one more line of rabbitmq.conf, which wins over ours
#   --keep                leaves the data where they are; start --dir DIR serves them again
#
# Confirmations come from the page cache; streams are never synced and have no setting for it, so there is no --synced.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib/peer.sh"
. "$here/../lib/install.sh"

# Starting takes Erlang ten seconds where nothing else runs.
readonly START_SECONDS_MAX=120
# All of Erlang that the server needs, so that none of it is the machine's own, which would look for the rest beside itself.
readonly ERLANG=(erlang-asn1 erlang-base erlang-crypto erlang-eldap erlang-ftp erlang-inets erlang-mnesia erlang-os-mon erlang-parsetools
    erlang-public-key erlang-runtime-tools erlang-snmp erlang-ssl erlang-syntax-tools erlang-tftp erlang-tools erlang-xmerl)

main() {
    case "${1:-}" in
        start) shift; start "$@" ;;
        stop) shift; peer_stop_as beam.smp "$@" ;;
        -h | --help) sed -n '2,16s/^# \{0,1\}//p' "$0" ;;
        *) sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
}

start() {
    local unpacked erlang server
    while [ $# -gt 0 ]; do
        peer_option "$@"
        shift 2
    done
    unpacked=$(repository_root)/target/peers/rabbitmq
    unpack_apt "$unpacked" rabbitmq-server "${ERLANG[@]}" >&2 || peer_lacks "Debian's rabbitmq-server cannot be had here"
    erlang=$unpacked/usr/lib/erlang
    server=$(echo "$unpacked"/usr/lib/rabbitmq/lib/rabbitmq_server-*)
    peer_place rabbitmq
    configure > "$peer_dir/rabbitmq.conf"
    echo '[rabbitmq_stream].' > "$peer_dir/enabled_plugins"
    # Debian's erl only starts what is under /usr; what it starts takes its place from the environment.
    mkdir -p "$peer_dir/bin"
    ln -sf "$(echo "$erlang"/erts-*/bin/erlexec)" "$peer_dir/bin/erl"
    launch
    peer_wait "$START_SECONDS_MAX" answers "$peer_port"
    peer_say peer "RabbitMQ ${server##*-} on Erlang $(cat "$erlang"/releases/*/OTP_VERSION), one node, streams"
    peer_say durability "unsynced: confirmations come from the page cache, the kernel writes when it likes (no setting changes that)"
    peer_say_where "$peer_dir/rabbitmq.conf" rabbitmq://
}

# launch: starts the node, with everything that it reads or writes in the peer's directory. It has no use for other nodes, so no epmd is
# started to find them: the port where they would call is given on the command line.
launch() {
    local environment=(
        "HOME=$peer_dir" "PATH=$peer_dir/bin:$PATH" "LD_LIBRARY_PATH=$(echo "$unpacked"/usr/lib/*-linux-gnu)"
        "ROOTDIR=$erlang" "BINDIR=$(echo "$erlang"/erts-*/bin)" EMU=beam PROGNAME=erl "ERL_ZFLAGS=-start_epmd false"
        "RABBITMQ_CONF_ENV_FILE=$peer_dir/rabbitmq-env.conf" "RABBITMQ_CONFIG_FILE=$peer_dir/rabbitmq.conf"
        "RABBITMQ_CONFIG_FILES=$peer_dir/conf.d" "RABBITMQ_ADVANCED_CONFIG_FILE=$peer_dir/advanced.config"
        "RABBITMQ_ENABLED_PLUGINS_FILE=$peer_dir/enabled_plugins"
        "RABBITMQ_MNESIA_BASE=$peer_dir/data" "RABBITMQ_MNESIA_DIR=$peer_dir/data/node"
        "RABBITMQ_LOG_BASE=$peer_dir" RABBITMQ_LOGS=- RABBITMQ_NODENAME=ringmill-peer@localhost
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-sname ringmill-peer@localhost -erl_epmd_port $(peer_free_port) -kernel inet_dist_use_interface {127,0,0,1}"
        # Else a shell stands between this and the server, and the process id would be the shell's.
        RUNNING_UNDER_SYSTEMD=true
    )
    ulimit -n "$(ulimit -H -n)"
    peer_launch env "${environment[@]}" "$server/sbin/rabbitmq-server"
}

# answers PORT: whether a server listens there that knows the stream protocol, by telling it no properties and being told its own.
answers() {
    exec 3<> "/dev/tcp/127.0.0.1/$1" || return 1
    printf '\0\0\0\014\0\021\0\01\0\0\0\07\0\0\0\0' >&3
    # The answer's command, behind its length.
    [ "$(head -c 6 <&3 | tail -c 2 | od -An -tx1 | tr -d ' \n')" = 8011 ]
}

# configure: prints rabbitmq.conf.
configure() {
    cat <<CONF
# No other protocol is used.
listeners.tcp = none
stream.listeners.tcp.1 = 127.0.0.1:$peer_port
stream.advertised_host = 127.0.0.1
stream.advertised_port = $peer_port
CONF
    for more in "${peer_settings[@]}"; do echo "$more"; done
}

main "$@"
