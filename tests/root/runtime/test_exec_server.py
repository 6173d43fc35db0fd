"""The process that serves a container's execs: one for all, in nobody's way, gone in the end."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience
from tests.root.runtime.boxes import Box, eventually, read_all, split, wait

from wherry.errors import Conflict, WherryError
from wherry.runtime.api import CommandNotFound, ExecRequest
from wherry.runtime.client import MonitoredProcess
from wherry.runtime.execs.server import MOST
from wherry.runtime.seccomp.profile import default_profile

pytestmark = pytest.mark.root


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _begin(box: Box, container: MonitoredProcess, *args: str) -> MonitoredProcess:
    return box.keep(box.runtime.exec(box.exec_request(container, *args)))


def _server(box: Box, container: MonitoredProcess) -> int:
    """The server, which has an exec that goes on."""
    server = _parent(_begin(box, container, "sleep", "100").pid)
    assert Path(f"/proc/{server}/comm").read_text() == "wherry-execs\n"
    return server


def _has_namespaces(pid: int) -> bool:
    try:
        os.readlink(f"/proc/{pid}/ns/ipc")
    except OSError:
        return False
    return True


def _is_gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_one_serves_all_and_keeps_nothing(box: Box) -> None:
    container = box.start("sleep", "100", linux_seccomp=default_profile([]))
    server = _server(box, container)
    for _ in range(20):
        assert box.exec(container, "echo", "out").stdout == b"out\n"
    eventually(lambda: len(os.listdir(f"/proc/{server}/task")) == 1)
    descriptors, pages = _descriptors(server), int(_stat(server)[21])
    for _ in range(40):
        assert box.exec(container, "false").code == 1
        with pytest.raises(WherryError):
            _begin(box, container, "/nosuch")
    eventually(lambda: _descriptors(server) <= descriptors)
    assert int(_stat(server)[21]) < pages + 256
    assert _parent(_begin(box, container, "sleep", "100").pid) == server


def test_each_container_has_its_own_which_ends_with_it(box: Box) -> None:
    first, second = box.start("sleep", "100"), box.start("sleep", "100")
    servers = [_server(box, one) for one in (first, second)]
    assert servers[0] != servers[1]
    first.signal(9)
    wait(first)
    eventually(lambda: _is_gone(servers[0]))
    assert box.exec(second, "true").code == 0


def test_many_at_once(box: Box) -> None:
    container = box.start("sleep", "100")
    _server(box, container)
    requests = [
        box.exec_request(container, "echo", str(number), attach=True) for number in range(64)
    ]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda request: _output(box, request), requests))
    assert found == [b"%d\n" % number for number in range(64)]


def _output(box: Box, request: ExecRequest) -> bytes:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = box.keep(box.runtime.exec(request, [theirs.fileno()]))
        output = split(read_all(ours))[0]
    assert wait(process).code == 0
    return output


def test_whoever_reads_slowly_or_prints_for_ever_delays_nobody(box: Box) -> None:
    container = box.start("sleep", "100")
    server = _server(box, container)
    silent, theirs = socket.socketpair()
    with silent:
        with theirs:
            request = box.exec_request(container, "yes", attach=True)
            box.keep(box.runtime.exec(request, [theirs.fileno()]))
        _begin(box, container, "yes")  # and nobody is attached to this one
        resident = int(_stat(server)[21])
        for _ in range(20):
            assert box.exec(container, "echo", "out").stdout == b"out\n"
        assert int(_stat(server)[21]) - resident < 2048  # pages of what is kept for the reader


def test_all_that_is_printed_arrives(box: Box) -> None:
    container = box.start("sleep", "100")
    for _ in range(2):
        found = box.exec(container, "sh", "-c", "seq 200000; seq 10 >&2")
        assert found.stdout == b"".join(b"%d\n" % n for n in range(1, 200001))
        assert len(found.stderr.splitlines()) == 10


def test_standard_input(box: Box) -> None:
    container = box.start("sleep", "100")
    _server(box, container)
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            streams = (True, True, True)
            request = box.exec_request(
                container, "cat", attach=True, open_stdin=True, attach_streams=streams
            )
            process = box.keep(box.runtime.exec(request, [theirs.fileno()]))
        ours.sendall(b"typed")
        ours.shutdown(socket.SHUT_WR)
        assert split(read_all(ours), raw=False)[0] == b"typed"
    assert wait(process).code == 0


def test_killed_it_takes_its_execs_along(box: Box) -> None:
    """Even those that nobody has heard of: they become the guard's, which ends them."""
    container = box.start("sleep", "100")
    running = _begin(box, container, "sleep", "100")
    server = _parent(running.pid)
    guard = _parent(server)
    os.kill(server, signal.SIGKILL)
    assert wait(running).code == 137
    eventually(lambda: _is_gone(running.pid) and _is_gone(guard))
    # A request that comes before its end is seen fails.
    with suppress(WherryError):
        box.exec(container, "true")
    assert _server(box, container) != server


def _soon(
    box: Box, container: MonitoredProcess, *args: str, **changes: Any
) -> MonitoredProcess | WherryError:
    """An exec that is not waited for: what comes of it."""
    outcome: Future[MonitoredProcess | WherryError] = Future()
    request = box.exec_request(container, *args, **changes)
    assert box.runtime.exec_soon(request, (), outcome.set_result)
    found = outcome.result(patience(20.0))
    return found if isinstance(found, WherryError) else box.keep(found)


def test_it_can_be_asked_without_waiting(box: Box) -> None:
    container = box.start("sleep", "100")
    asked: list[object] = []
    assert not box.runtime.exec_soon(box.exec_request(container, "true"), (), asked.append)
    server = _server(box, container)
    running = _soon(box, container, "sleep", "100")
    assert isinstance(running, MonitoredProcess)
    assert _parent(running.pid) == server
    running.signal(9)
    assert wait(running).code == 137
    assert isinstance(_soon(box, container, "/nosuch"), CommandNotFound)
    # What it leaves to others is started by them.
    elsewhere = _soon(box, container, "sleep", "100", env=("PATH=/bin", "NOVALUE"))
    assert isinstance(elsewhere, MonitoredProcess)
    assert _parent(elsewhere.pid) != server
    assert not asked


def test_whoever_does_not_wait_hears_of_its_end(box: Box) -> None:
    container = box.start("sleep", "100")
    server = _server(box, container)
    os.kill(server, signal.SIGSTOP)
    outcome: Future[MonitoredProcess | WherryError] = Future()
    assert box.runtime.exec_soon(box.exec_request(container, "true"), (), outcome.set_result)
    os.kill(server, signal.SIGKILL)
    assert "was killed" in str(outcome.result(patience(20.0)))


def test_without_its_guard_it_takes_no_more(box: Box) -> None:
    container = box.start("sleep", "100")
    running = _begin(box, container, "sleep", "100")
    server = _parent(running.pid)
    os.kill(_parent(server), signal.SIGKILL)
    eventually(lambda: _server(box, container) != server)
    running.signal(9)
    assert wait(running).code == 137


def test_what_it_leaves_to_others(box: Box) -> None:
    """Who could look into its memory is set up by a process of its own."""
    container = box.start("sleep", "100")
    server = _server(box, container)
    for changes in ({"env": ("PATH=/bin", "NOVALUE")}, {"apart": True}):
        running = box.keep(box.runtime.exec(box.exec_request(container, "sleep", "50", **changes)))
        eventually(lambda running=running: _parent(_parent(running.pid)) != server)
        assert Path(f"/proc/{_parent(running.pid)}/comm").read_text() != "wherry-execs\n"


def test_more_than_it_serves_at_a_time(box: Box) -> None:
    container = box.start("sleep", "100")
    server = _server(box, container)
    for _ in range(MOST - 1):
        _begin(box, container, "sleep", "100")
    assert _parent(_begin(box, container, "sleep", "100").pid) != server
    assert box.exec(container, "echo", "out").stdout == b"out\n"


def test_its_memory_is_closed_to_the_container(box: Box) -> None:
    """A process of the same user finds nothing in the container that it could open of the server,
    and the server has no descriptor in it but the ends of streams."""
    container = box.start("sleep", "100")
    server = _server(box, container)
    shown = box.exec(container, "sh", "-c", "for p in /proc/[0-9]*; do cat $p/comm; done")
    assert "wherry-execs" not in shown.stdout.decode()
    root = os.stat(f"/proc/{container.pid}/root")
    for fd in os.listdir(f"/proc/{server}/fd"):
        with suppress(FileNotFoundError):
            found = os.stat(f"/proc/{server}/fd/{fd}")
            assert found.st_dev != root.st_dev


def test_nobody_keeps_the_engine_s_standard_error(box: Box) -> None:
    container = box.start("sleep", "100")
    server = _server(box, container)
    null = os.stat("/dev/null").st_rdev
    for pid in (server, _parent(server)):
        eventually(lambda pid=pid: os.stat(f"/proc/{pid}/fd/2").st_rdev == null)


def test_a_container_that_is_about_to_end_is_not_running(box: Box) -> None:
    """Its first process waits for all others to be reaped, in no namespace any more."""
    container = box.start("sleep", "100")
    server = _server(box, container)
    os.kill(server, signal.SIGSTOP)  # and so reaps nobody
    try:
        os.kill(container.pid, signal.SIGKILL)
        eventually(lambda: not _has_namespaces(container.pid))
        with pytest.raises(Conflict):
            box.runtime.exec(box.exec_request(container, "true", apart=True))
    finally:
        os.kill(server, signal.SIGCONT)
    wait(container)
