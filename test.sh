#!/bin/bash
# Set up all that the tests need, and run them. Arguments go to pytest: ./test.sh -k registry,
# ./test.sh --slow for those that take minutes, too, ./test.sh -s to see what they print.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. scripts/setup.sh

install_packages() {
    if ! is_root; then
        echo "not root: the tests that need it will be skipped by name"
        return
    fi
    [ -x /bin/busybox ] && ! ldd /bin/busybox >/dev/null 2>&1 ||
        install_package busybox-static "the tests' image is made of it"
}

install_wherry() {
    make_venv
    # The tests use the sources where they are: only new requirements have to be installed.
    uses_the_sources && [ "$venv/.installed-dev" -nt pyproject.toml ] && return
    say "Installing Wherry and the test tools with pip"
    pip_install .installed-dev -e '.[dev]'
    "$venv/bin/python" -m compileall -q src
}

install_packages
install_wherry
# All tests take two processes: what looks at the whole machine stays in one (tests/scheduling.py).
# What is named runs alone, with -s and --pdb as ever.
processes=(-n 2 --dist loadgroup --no-loadscope-reorder)
alone=' (-s|-k|--pdb|--capture|-n|tests/)'
if [ $# -gt 0 ] || [[ " ${PYTEST_ADDOPTS:-}" =~ $alone ]]; then
    processes=()
fi
exec "$venv/bin/python" -m pytest "${processes[@]}" "$@"
