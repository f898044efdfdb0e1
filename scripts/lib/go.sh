# Builds the interop drivers that are written in Go. Sourced by their install scripts, in the driver's own directory.

# go_driver CACHE_DIR: builds ./ to CACHE_DIR/driver, unless it is newer than what it is made of.
go_driver() {
    local log
    mkdir -p "$1"
    # Two drivers may be one program, and be installed at the same time.
    exec 8> "$1/lock"
    flock 8
    if [ -x "$1/driver" ] && [ -z "$(find . ../../lib/godriver -type f -newer "$1/driver" -print -quit)" ]; then
        return 0
    fi
    command -v go > /dev/null || { echo "no go in PATH: install Go 1.21 or newer, which brings what go.mod names"; exit 77; }
    if ! log=$(GOFLAGS=-mod=readonly GOTOOLCHAIN=auto CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$1/driver" . 2>&1); then
        case "$log" in
            # What does not compile is a fault of ours; what cannot be downloaded is not.
            *"dial tcp"* | *"i/o timeout"* | *"toolchain"* | *"invalid go version"* | *": reading "*) tail -n 1 <<< "$log"; exit 77 ;;
            *) echo "$log" >&2; exit 1 ;;
        esac
    fi
}
