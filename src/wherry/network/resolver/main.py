"""The resolver's process. It imports little: it lives as long as the containers it serves."""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys

from wherry.network.resolver.control import serve
from wherry.network.resolver.forward import HostServers
from wherry.network.resolver.loop import Loop
from wherry.network.resolver.server import Names
from wherry.sys.process import PR_SET_DUMPABLE, prctl, set_name

HOST_RESOLV_CONF = "/etc/resolv.conf"


def main() -> None:
    """``sys.argv[1]`` is the number of the listening socket."""
    prctl(PR_SET_DUMPABLE, 0)  # no container may look into it through /proc
    set_name("wherry-resolver")
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP):  # those of the engine's terminal
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three for each container
    listener = socket.socket(fileno=int(sys.argv[1]))
    loop = Loop()
    gc.freeze()
    serve(listener, loop, Names(loop, HostServers(HOST_RESOLV_CONF)))
