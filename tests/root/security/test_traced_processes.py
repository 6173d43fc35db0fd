"""A container keeps processes that have ended from being waited for, by tracing them (ptrace(2)).

Whoever looks after them is outside of the container's limits, and is to sleep meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.runtime.boxes import Box, eventually, wait

pytestmark = pytest.mark.root

TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
seize = 0x4206
libc.ptrace.argtypes = [ctypes.c_long] * 4
sys.exit(1) if libc.ptrace(seize, int(sys.argv[1]), 0, 0) else print("traced", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def tracers() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for one in made:
        one.communicate()


def _trace(pid: int) -> subprocess.Popen[bytes]:
    """A process that traces another one, until its standard input is closed."""
    command = (sys.executable, "-c", TRACER, str(pid))
    tracer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tracer.stdout is not None
    assert tracer.stdout.readline() == b"traced\n"
    return tracer


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _rests(pid: int) -> bool:
    """Whether it has not had a processor for a while: how long it had one, in nanoseconds, is the
    same (proc_pid_schedstat(5))."""
    before = Path(f"/proc/{pid}/schedstat").read_text()
    threading.Event().wait(0.3)
    return Path(f"/proc/{pid}/schedstat").read_text() == before


@pytest.mark.parametrize("kind", ["exec by a thread", "exec by a clone", "container"])
def test_who_looks_after_a_traced_process_sleeps(
    box: Box, tracers: list[subprocess.Popen[bytes]], kind: str
) -> None:
    container = box.start("sleep", "1000")
    state = box.bundle() / "state"
    process = container
    if kind != "container":
        request = box.exec_request(container, "sleep", "1000", apart=kind == "exec by a clone")
        process = box.keep(box.runtime.exec(request))
    monitor = int(_stat(process.pid)[1])
    tracers.append(_trace(process.pid))
    os.kill(process.pid, 9)
    eventually(lambda: _stat(process.pid)[0] == "Z")
    assert any(_rests(monitor) for _ in range(10))
    if kind != "container":
        assert box.exec(container, "echo", "here").lines == ["here"]
    tracers[0].communicate()
    assert wait(process).code == 137
    box.runtime.end_execs(str(state))
