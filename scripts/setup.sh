# What quickstart.sh and test.sh share: a virtual environment and the few system packages.
# Sourced from the root of the checkout.

readonly venv=.venv

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

is_root() {
    [ "$(id -u)" = 0 ]
}

# has_python PROGRAM: whether it runs and is 3.11 or later.
has_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if has_python "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

# install_package PACKAGE REASON: by apt-get; fetches the package lists if that is needed.
install_package() {
    local package=$1 reason=$2
    is_root || fail "$package is needed ($reason): install it with sudo apt-get install $package"
    command -v apt-get >/dev/null || fail "$package is needed ($reason) and there is no apt-get here"
    say "Installing $package: $reason"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 && return
    apt-get update -qq || fail "cannot fetch the package lists: is there a package mirror?"
    apt-get install -qq -y --no-install-recommends "$package" >/dev/null ||
        fail "cannot install $package ($reason): see what apt-get install $package says"
}

# The path of a Python that will do; installs one where the distribution has it beside an older.
need_python() {
    find_python && return
    local version
    for version in 3.13 3.12 3.11; do
        if is_root && apt-cache show "python$version" >/dev/null 2>&1; then
            install_package "python$version-venv" "Wherry needs Python 3.11 or later" >&2
            command -v "python$version"
            return
        fi
    done
    fail "Wherry needs Python 3.11 or later, and there is none here: install python3.11-venv"
}

# make_venv: the virtual environment, if it is not there or its Python has gone.
make_venv() {
    has_python "$venv/bin/python" && return
    local python version
    python=$(need_python)
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        install_package "python$version-venv" "makes virtual environments with pip inside"
    fi
    say "Making a virtual environment with Python $version"
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# is_installed [EXTRA]: whether the sources are those that were installed last (or are used as
# they are), with the extra.
is_installed() {
    local stamp="$venv/.installed${1:+-$1}"
    [ -e "$stamp" ] && [ -z "$(find src pyproject.toml -name __pycache__ -prune -o \
        -type f -newer "$stamp" -print -quit)" ]
}

# pip_install STAMP ARGUMENT...: quietly, with compiled files whatever the environment says.
pip_install() {
    local stamp=$1
    shift
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet --compile "$@" ||
        fail "pip cannot install Wherry: is a package index reachable?"
    touch "$venv/$stamp"
}

uses_the_sources() {
    "$venv/bin/python" -c '
import importlib.util, os, sys
found = importlib.util.find_spec("wherry")
sys.exit(found is None or not found.origin.startswith(os.path.realpath("src") + os.sep))
' 2>/dev/null
}
