# Gives the interop drivers of Node clients their packages and a Node that is new enough. Sourced by their install and start.

# The oldest Node that @platformatic/kafka 2 takes, and that has zstd; where the machine's is older, npm brings this one.
NODE_MIN=22.22.0
NODE_BROUGHT=24.21.0

# node_driver CACHE_DIR: installs what the package-lock.json in this directory names, and Node if it is needed.
node_driver() {
    mkdir -p "$1"
    need_command npm npm || { echo "no npm in PATH: install Node.js with npm"; exit 77; }
    bring_node "$(dirname "$1")" || { echo "Node $NODE_MIN or newer is not installed and could not be had from npm"; exit 77; }
    cmp -s package-lock.json "$1/installed-lock.json" && return 0
    cp package.json package-lock.json "$1/"
    if ! (cd "$1" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error); then
        echo "npm could not install what package-lock.json names"
        exit 77
    fi
    cp package-lock.json "$1/installed-lock.json"
}

# node_of CACHE_ROOT: the path of the Node to use.
node_of() {
    local brought="$1/node-$NODE_BROUGHT/node_modules/node-$(node_platform)/bin/node"
    if [ -x "$brought" ]; then echo "$brought"; else echo node; fi
}

# Shared by the drivers below one CACHE_ROOT, for it is large.
bring_node() {
    node_is_new && return 0
    # Two drivers may be installed at the same time.
    exec 8> "$1/node.lock"
    flock 8
    [ "$(node_of "$1")" = node ] || return 0
    npm install --no-audit --no-fund --ignore-scripts --loglevel=error --prefix "$1/node-$NODE_BROUGHT" "node-$(node_platform)@$NODE_BROUGHT"
}

node_is_new() {
    local version
    version=$(node --version 2> /dev/null) || return 1
    [ "$(printf '%s\n' "v$NODE_MIN" "$version" | sort -V | head -n 1)" = "v$NODE_MIN" ]
}

node_platform() {
    case "$(uname -m)" in
        aarch64) echo linux-arm64 ;;
        *) echo linux-x64 ;;
    esac
}
