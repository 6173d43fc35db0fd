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
from wherry.sys.process import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, prctl, set_name

HOST_RESOLV_CONF = "/etc/resolv.conf"
_NOBODY = 65534


def main() -> None:
    """``sys.argv[1]`` is the number of the listening socket."""
    set_name("wherry-resolver")
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP):  # those of the engine's terminal
        signal.signal(number, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three for each container
    _become_nobody()
    listener = socket.socket(fileno=int(sys.argv[1]))
    loop = Loop()
    gc.freeze()
    serve(listener, loop, Names(loop, HostServers(HOST_RESOLV_CONF)))


def _become_nobody() -> None:
    """It reads what containers send, and everything that needs a privilege is handed to it. All
    modules are there by now: nobody may not be able to read them."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)  # nobody else's processes may look into it through /proc
