# Installs what the scripts need and the machine lacks: Debian packages and a Python environment.
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

# need_apt PKG...: installs those of the Debian packages that are not there yet. Fails if one stays missing.
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
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# need_command COMMAND PKG: the same, but content with a command that came from elsewhere.
need_command() {
    command -v "$1" >/dev/null || need_apt "$2"
}

# need_python_venv [PYPI-PACKAGE...]: makes target/venv with these packages and puts its python3 first in PATH.
need_python_venv() {
    local venv package missing=()
    venv="$(repository_root)/target/venv"
    need_command python3 python3 || return 1
    if [ ! -x "$venv/bin/pip" ]; then
        # Debian's python3 comes without ensurepip; other builds of Python bring their own.
        python3 -c 'import ensurepip' 2>/dev/null || need_apt python3-venv || return 1
        python3 -m venv "$venv" || return 1
    fi
    for package in "$@"; do
        "$venv/bin/pip" show -q "$package" 2>/dev/null || missing+=("$package")
    done
    if [ ${#missing[@]} != 0 ]; then
        "$venv/bin/pip" install -q --disable-pip-version-check "${missing[@]}" || return 1
    fi
    PATH="$venv/bin:$PATH"
}

repository_root() {
    (cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
}
