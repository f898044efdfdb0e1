# Installs what the scripts need and the machine lacks: Debian packages, installed or only unpacked, and a Python environment.
#
# To be sourced. It needs root or a passwordless sudo; without either it installs nothing and says what is missing.
# Nothing here is called by the broker or by Rust tests.

# Runs a command as root, or fails if that is not possible.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# need_apt PKG...: installs those of the Debian packages that are not there yet, and removes nothing for them. Fails if one stays missing.
need_apt() {
    local package missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    echo "installing ${missing[*]}"
    if ! as_root true; then
        echo "missing: ${missing[*]}; not root and no passwordless sudo, so run: apt-get install ${missing[*]}" >&2
        return 1
    fi
    # Several checks install at the same time, and apt lets only one.
    mkdir -p "$(repository_root)/target"
    (
        flock 9
        # Without the lock, which a service that a package starts would keep. Another apt of this machine gets time to end.
        {
            as_root apt-get update -qq &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o DPkg::Lock::Timeout=300 \
                    --no-remove --no-install-recommends "${missing[@]}" >/dev/null
        } 9>&-
    ) 9>"$(repository_root)/target/apt.lock"
}

# need_command COMMAND PKG: the same, but content with a command that came from elsewhere.
need_command() {
    command -v "$1" >/dev/null || need_apt "$2"
}

# unpack_apt DIR PKG...: unpacks the Debian packages under DIR with those of their dependencies that the machine lacks. Nothing is
# installed and no service is started, so packages that apt would not have side by side can be tried on one machine. A second
# call with the same packages finds them there.
unpack_apt() {
    local dir="$1" wanted="${*:2}" packages
    [ "$(cat "$dir/.unpacked" 2>/dev/null)" = "$wanted" ] && return 0
    echo "unpacking $wanted"
    rm -rf "$dir"
    mkdir -p "$dir/.packages" || return 1
    packages=$(packages_lacking "${@:2}") || { as_root apt-get update -qq && packages=$(packages_lacking "${@:2}"); } || return 1
    # shellcheck disable=SC2086 # one word per package
    (cd "$dir/.packages" && apt-get download -qq -o APT::Sandbox::User=root $packages) || return 1
    for packages in "$dir"/.packages/*.deb; do
        dpkg -x "$packages" "$dir" || return 1
    done
    rm -rf "$dir/.packages"
    echo "$wanted" > "$dir/.unpacked"
}

# packages_lacking PKG...: these packages and what they need that is not installed, whatever of them is.
packages_lacking() {
    local simulated
    simulated=$(apt-get install --simulate --no-install-recommends "$@" 2>/dev/null) || return 1
    { printf '%s\n' "$@"; awk '/^Inst/ { print $2 }' <<< "$simulated"; } | sort -u
}

# python_venv DIR PYPI-PACKAGE...: makes a Python environment in DIR with these packages, or leaves the one that is there.
python_venv() {
    local venv="$1"
    shift
    [ "$(cat "$venv/installed" 2>/dev/null)" = "$*" ] && return 0
    need_command python3 python3 || return 1
    # Debian's python3 comes without ensurepip; other builds of Python bring their own.
    python3 -c 'import ensurepip' 2>/dev/null || need_apt python3-venv || return 1
    python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check "$@" || return 1
    # Noted last, so that an interrupted installation is done again.
    echo "$*" >"$venv/installed"
}

repository_root() {
    (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
}
