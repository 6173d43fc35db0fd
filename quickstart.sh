#!/bin/bash
# From a fresh clone to a web page served from a container. Run it again: it takes seconds.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. scripts/setup.sh

readonly image=my-python-app base=python:3.11-slim
readonly wherry="$venv/bin/wherry"

check_machine() {
    is_root || fail "containers need root: run it with sudo"
    [ "$(uname -s)" = Linux ] || fail "Wherry runs on Linux"
    grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null ||
        fail "this kernel has no overlayfs, which Wherry keeps images on"
}

install_wherry() {
    make_venv
    if uses_the_sources || is_installed; then
        return
    fi
    say "Installing Wherry with pip"
    pip_install .installed .
}

has_image() {
    "$wherry" inspect --type image "$1" >/dev/null 2>&1
}

# Whether Docker Hub answers, within a few seconds.
hub_answers() {
    timeout 8 "$venv/bin/python" - <<'PYTHON' 2>/dev/null
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen("https://registry-1.docker.io/v2/", timeout=5)
except urllib.error.HTTPError as error:
    sys.exit(error.code != 401)
PYTHON
}

get_base() {
    has_image "$base" && return
    if hub_answers; then
        say "Pulling $base from Docker Hub"
        "$wherry" pull "$base" && return
    fi
    command -v mmdebstrap >/dev/null ||
        install_package mmdebstrap "makes base images from the package mirror, without a registry"
    need_debian_keys
    say "Docker Hub is out of reach: making $base from the package mirror"
    "$wherry" bootstrap "$base" || fail "there is no base image, neither from Docker Hub nor made here"
}

need_debian_keys() {
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ||
        install_package debian-archive-keyring "vouches for the packages of the base image"
}

# The first free port from 8080 on.
free_port() {
    "$venv/bin/python" - <<'PYTHON'
import socket, sys
for port in range(8080, 8180):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        sys.exit()
sys.exit("all ports from 8080 to 8179 are taken")
PYTHON
}

# page URL: its text, as soon as the server answers.
page() {
    "$venv/bin/python" - "$1" <<'PYTHON'
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
deadline = time.monotonic() + 60
while True:
    try:
        print(opener.open(sys.argv[1], timeout=5).read().decode(), end="")
        sys.exit()
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"{sys.argv[1]} does not answer: {error}")
        time.sleep(0.05)
PYTHON
}

main() {
    check_machine
    install_wherry
    get_base

    say "wherry build -t $image --host-ca examples/flask-app"
    "$wherry" build -t "$image" --host-ca examples/flask-app

    "$wherry" rm -f "$image" >/dev/null 2>&1 || true
    local port
    port=$(free_port)
    say "wherry run -d --name $image -p 127.0.0.1:$port:5000 $image"
    "$wherry" run -d --name "$image" -p "127.0.0.1:$port:5000" "$image"

    say "http://127.0.0.1:$port/ says:"
    if ! page "http://127.0.0.1:$port/"; then
        "$wherry" logs "$image" || true
        fail "the container does not answer; above is what it printed"
    fi

    say "wherry ps"
    "$wherry" ps
    say "wherry images"
    "$wherry" images

    say "It goes on running. Next:"
    cat <<NEXT
    $wherry logs $image          # what it prints
    $wherry exec -it $image bash # a shell inside
    $wherry stop $image          # end it
    $wherry rm $image            # remove it
    docker -H unix:///run/wherry/wherry.sock ps   # Docker's own command line works, too
NEXT
}

main "$@"
