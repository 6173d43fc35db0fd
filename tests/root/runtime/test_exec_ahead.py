"""Execs that were created and are about to be started: somebody waits for that in the container."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import Box, eventually, read_all, split, wait

from wherry.errors import WherryError
from wherry.runtime.api import CommandNotFound, ExecRequest
from wherry.runtime.client import MonitoredProcess
from wherry.runtime.seccomp.profile import default_profile

pytestmark = pytest.mark.root

_OPEN = {"/dev/null", "pipe", "anon_inode"}
"""What a thread has open; a clone has a socket to its server, too."""


@pytest.fixture
def container(box: Box) -> MonitoredProcess:
    return box.start("sleep", "100", linux_seccomp=default_profile([]))


@pytest.fixture
def server(box: Box, container: MonitoredProcess) -> int:
    """It has an exec that goes on."""
    running = box.keep(box.runtime.exec(box.exec_request(container, "sleep", "100")))
    stat = Path(f"/proc/{running.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def _helpers(server: int) -> list[int]:
    """Threads but for the first and, on version 2 of control groups, clones: what enters."""
    threads = [int(name) for name in os.listdir(f"/proc/{server}/task") if int(name) != server]
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return threads + [int(one) for one in children if _name(one) == "wherry-execs"]


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _begin(
    box: Box, request: ExecRequest, fds: tuple[int, ...] = ()
) -> MonitoredProcess | WherryError:
    outcome: Future[MonitoredProcess | WherryError] = Future()
    assert box.runtime.exec_soon(request, fds, outcome.set_result)
    found = outcome.result(patience(20.0))
    return found if isinstance(found, WherryError) else box.keep(found)


def _output(box: Box, request: ExecRequest) -> bytes:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = _begin(box, request, (theirs.fileno(),))
        output = split(read_all(ours))[0]
    assert isinstance(process, MonitoredProcess)
    assert wait(process).code == 0
    return output


def _waiting(server: int) -> Iterator[int]:
    """Those that have loaded the container's filter: they wait at the gate."""
    for one in _helpers(server):
        with suppress(OSError):
            status = Path(f"/proc/{one}/status").read_text()
            if "\nSeccomp:\t2\n" in status:
                yield one


def test_each_start_gets_its_own(box: Box, container: MonitoredProcess, server: int) -> None:
    for number in range(20):
        request = box.exec_request(container, "echo", str(number), attach=True)
        other = box.exec_request(container, "echo", "other", attach=True)
        box.runtime.expect_exec(request)
        box.runtime.expect_exec(other)
        if number % 2:
            assert _output(box, other) == b"other\n"
        assert _output(box, request) == b"%d\n" % number
    eventually(lambda: not _helpers(server))


def test_who_waits_has_nothing_but_streams(
    box: Box, container: MonitoredProcess, server: int
) -> None:
    request = box.exec_request(container, "true")
    seen: list[set[str]] = []

    def observed() -> bool:
        box.runtime.expect_exec(request)  # once more: it may have given up
        for one in _waiting(server):
            with suppress(OSError):
                place = f"/proc/{one}/fd"
                seen.append(
                    {os.readlink(f"{place}/{fd}").partition(":")[0] for fd in os.listdir(place)}
                )
        return bool(seen)

    eventually(observed)
    assert seen[0] - {"socket"} <= _OPEN


def test_nobody_waits_for_ever(box: Box, container: MonitoredProcess, server: int) -> None:
    before = len(os.listdir(f"/proc/{server}/fd"))
    for _ in range(50):
        box.runtime.expect_exec(box.exec_request(container, "true"))
        eventually(lambda: not _helpers(server))
    eventually(lambda: len(os.listdir(f"/proc/{server}/fd")) <= before)


def test_what_was_not_there_yet_is_found(
    box: Box, container: MonitoredProcess, server: int
) -> None:
    request = box.exec_request(container, "/tmp/late")
    box.runtime.expect_exec(request)
    eventually(lambda: not _helpers(server))
    made = box.exec(container, "sh", "-c", "printf '#!/bin/sh\\n' > /tmp/late; chmod +x /tmp/late")
    assert made.code == 0
    process = _begin(box, request)
    assert isinstance(process, MonitoredProcess)
    assert wait(process).code == 0
    assert isinstance(_begin(box, box.exec_request(container, "/tmp/never")), CommandNotFound)


@pytest.mark.usefixtures("server")
def test_the_container_s_end_is_not_delayed(box: Box, container: MonitoredProcess) -> None:
    box.runtime.expect_exec(box.exec_request(container, "true"))
    container.signal(9)
    assert wait(container).code == 137  # said when its control groups are gone
