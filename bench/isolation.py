"""A corner of the machine for all engines: network, mounts and processes of their own.

An engine that is used on this machine is not disturbed (two dockerd in one network namespace flush
each other's rules), and whatever an engine leaves behind ends with the corner. All engines are in
the same one, so none has an advantage. The only way out is a proxy for HTTP CONNECT at
:data:`PROXY`, which builds use.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence

from bench.processes import run
from bench.proxy import serve

_ADDRESS = "192.0.2.1"  # RFC 5737: for documentation, so that nobody else has it
_PORT = 3128
PROXY = f"http://{_ADDRESS}:{_PORT}"
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def run_inside(arguments: Sequence[str]) -> int:
    """Run this program again in a new corner, as ``python -m bench --inside FD``; its exit code."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            fd = theirs.fileno()
            again = (sys.executable, "-m", "bench", f"--inside={fd}", *arguments)
            child = subprocess.Popen([*_UNSHARE, *again], pass_fds=[fd])
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        if fds:
            serve(socket.socket(fileno=fds[0]))
        return child.wait()


def enter(fd: int, arguments: Sequence[str]) -> int:
    """Set the corner up as its first process, run this program in a child, and reap orphans."""
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "addr", "add", f"{_ADDRESS}/32", "dev", "lo"),
    ):
        run(command, dict(os.environ))
    with socket.socket(fileno=fd) as outside, socket.create_server((_ADDRESS, _PORT)) as server:
        socket.send_fds(outside, [b"x"], [server.fileno()])
    worker = subprocess.Popen((sys.executable, "-m", "bench", "--worker", *arguments))
    while True:
        pid, status = os.wait()
        if pid == worker.pid:
            return os.waitstatus_to_exitcode(status)
