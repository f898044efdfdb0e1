#!/bin/bash
# Runs every command of the README as it stands there, in its order, against the binaries under test.
#
# Only paths are adapted: `target/release/` to the directory of the binaries, and the configuration example's data directory
# to a temporary one. Building, the demo and the tests are left out, for they are steps of their own.
set -euo pipefail
readme=$(cd "$(dirname "$0")/../.." && pwd)/README.md
binaries=$(cd "${1:?usage: $0 BINARY_DIR}" && pwd)
RINGMILL=$binaries/ringmill
. "$(dirname "$0")/../lib/broker.sh"
. "$(dirname "$0")/../lib/install.sh"

main() {
    # The README's commands use the default port.
    (exec 3<> /dev/tcp/127.0.0.1/9092) 2> /dev/null && skip "port 9092 is in use"
    need_apt kcat || skip "kcat is not installed and cannot be installed here"
    cd "$work"
    configuration > ringmill.toml
    local command count=0
    while read -r command <&3; do
        echo "\$ $command"
        case "$command" in
            *"ringmill serve"*) serve "$command" ;;
            *) timeout 300 bash -euo pipefail -c "$command" || fail "this command of the README: $command" ;;
        esac
        count=$((count + 1))
    done 3< <(commands)
    [ "$count" -ge 8 ] || fail "only $count commands were found in the README"
    broker_stop
    echo "$count commands of the README work"
}

# The lines of the shell examples, without comments, adapted.
commands() {
    sed -n '/^```sh$/,/^```$/p' "$readme" | sed -E 's/ +#.*//' |
        grep -vE '^(```.*|scripts/.*|cargo .*|)$' | sed "s#target/release/#$binaries/#g"
}

# The configuration example.
configuration() {
    sed -n '/^```toml$/,/^```$/p' "$readme" | grep -v '^```' | sed "s#/var/lib/ringmill#$work/lib#"
}

# Starts the broker by the README's words in place of the one that runs, and waits until it is ready.
serve() {
    [ -z "$broker_pid" ] || broker_stop
    : > "$broker_log"
    bash -c "exec env $1" >> "$broker_log" 2>&1 &
    broker_pid=$!
    for _ in $(seq 200); do
        grep -q '"message":"ready"' "$broker_log" && return 0
        kill -0 "$broker_pid" 2> /dev/null || fail "this command of the README: $1"
        sleep 0.05
    done
    fail "not ready within 10 s: $1"
}

main
