"""Named moments at which a test can hold a process still, to kill it, or another one, there.

Off unless the daemon was started with ``WHERRY_FAULTS``, the path of a Unix socket on which a test
listens; the launcher and what it forks inherit it. Each process that reaches a point then says its
name and waits until the test has closed the connection. The variable is root's, read when a process
begins, and no request can set it; without it a point costs one comparison.

``POINTS`` lists all of them, so that the fault suite can go through every one and sees if one of
them is never reached (``tests/faults/test_every_point.py``).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final, Literal, get_args

VARIABLE: Final = "WHERRY_FAULTS"

Point = Literal[
    # Engine: making a container
    "create.named",
    "create.prepared",
    "create.mounted",
    "create.directory",
    "create.recorded",
    # Engine: starting one
    "start.connected",
    "start.bundled",
    "start.answered",
    "start.recorded",
    "runtime.asked",
    # Engine: its end, and its removal
    "stop.signalled",
    "pause.frozen",
    "exit.heard",
    "exit.released",
    "exit.recorded",
    "remove.marked",
    "remove.snapshot",
    "remove.volumes",
    "remove.directory",
    "remove.runtime",
    "remove.forgotten",
    # Engine: more processes
    "exec.answered",
    "exec.ended",
    # Starter: from a request to a process that its monitor looks after
    "starter.taken",
    "starter.planned",
    "starter.cloned",
    "starter.recorded",
    "starter.executed",
    "starter.told",
    "starter.handed",
    # The process to be, before it does anything
    "init.begun",
    # Monitor
    "monitor.handed",
    "monitor.ended",
    "monitor.ungrouped",
    "monitor.recorded",
    "monitor.told",
    # Networks
    "network.defined",
    "network.linked",
    "network.forgotten",
    "network.closed",
    "endpoint.leased",
    "endpoint.linked",
    "endpoint.leaving",
    "endpoint.unlinked",
    "ports.reserved",
    "ports.recorded",
    "ports.translated",
    "ports.forgotten",
    "names.told",
    # Volumes
    "volume.directory",
    "volume.recorded",
    "volume.copied",
    "volume.forgotten",
    "volume.moved",
    # Snapshots, content and images
    "snapshot.directories",
    "snapshot.committed",
    "snapshot.forgotten",
    "trash.thrown",
    "trash.deleted",
    "blob.written",
    "blob.placed",
    "layer.unpacked",
    "layer.settled",
    "layer.committed",
    "layer.recorded",
    "image.recorded",
    "image.forgotten",
    "build.begun",
    "build.ended",
]
POINTS: Final[tuple[Point, ...]] = get_args(Point)

_address = ""


def listen_to(environ: Mapping[str, str]) -> None:
    """Called once where a process begins: report points from now on, if the variable is set."""
    global _address
    _address = environ.get(VARIABLE, "")


def reach(point: Point) -> None:
    """Say that this moment has come, and wait for leave to go on, if a test wants that."""
    if _address:
        _report(point)


def _report(point: Point) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(_address)
            connection.send(point.encode())
            connection.recv(1)
        except OSError:
            pass  # nobody listens any more
