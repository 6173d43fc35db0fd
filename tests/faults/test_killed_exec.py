"""Whoever is killed while an exec is set up: no process runs on that the engine knows nothing of.

The thread that enters the container spawns the program before anything is recorded of it, and the
program is one that would not end by itself (``wherry/runtime/execs/entering.py``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.moments import Moments
from tests.faults.victims import Family, Role, kill, lives
from tests.patience import patience

from wherry.client import Client
from wherry.errors import WherryError
from wherry.sys.faults import VARIABLE, Point

pytestmark = pytest.mark.root

_PATIENCE = patience(20.0)
_POINTS: tuple[Point, ...] = (
    "starter.taken",
    "starter.planned",
    "init.begun",
    "starter.cloned",
    "starter.recorded",
    "starter.executed",
    "starter.told",
    "starter.handed",
    "monitor.handed",
)
_PROGRAM = ["sleep", "100000"]


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moments]:
    made = Moments(tmp_path / "moments")
    monkeypatch.setenv(VARIABLE, made.address)
    yield made
    made.close()


@pytest.fixture
def engine(moments: Moments, new_engine: Callable[..., EngineProcess]) -> EngineProcess:
    return new_engine()


@pytest.mark.parametrize("tty", [False, True], ids=["by a thread", "by a clone"])
@pytest.mark.parametrize("role", ["starter", "monitor", "launcher"])
def test_an_exec_is_known_or_gone(
    engine: EngineProcess, moments: Moments, role: Role, tty: bool
) -> None:
    client = engine.start()
    client.images.bootstrap("busybox")
    container = client.containers.launch("busybox", _PROGRAM, name="box")
    known: list[str] = []
    struck: list[Point] = []
    # What a thread spawns stays with its server: only a clone is recorded, and handed to another.
    points = [p for p in _POINTS if tty or p not in ("starter.recorded", "monitor.handed")]
    for point in points:
        moments.arm(point, _killer(engine, role, struck, point))
        failed = _exec(client, tty, known)
        moments.disarm(0.0 if failed else _PATIENCE)
        _wait_until_known(client, container.inspect().state.pid, known, f"{role} at {point}")
        assert container.exec(["true"]).exit_code == 0
    assert set(points) - set(struck) <= {"monitor.handed"}  # a starter has ended by then
    container.remove(force=True)


def _killer(
    engine: EngineProcess, role: Role, struck: list[Point], point: Point
) -> Callable[[int], None]:
    """Kills who has the role when somebody is at the point, and notes the point if anybody has."""
    assert engine.process is not None
    own = engine.process.pid

    def strike(at: int) -> None:
        victim = Family(own, at, 0, "nobody").find(role)
        if victim:
            struck.append(point)
        kill(victim)

    return strike


def _exec(client: Client, tty: bool, known: list[str]) -> bool:
    """Begin an exec that does not end by itself; whether that failed."""
    body = {"Cmd": _PROGRAM, "Tty": tty}
    made = client.session.json("POST", "/containers/box/exec", {}, json=body)
    known.append(str(made["Id"]))
    try:
        client.session.json("POST", f"/exec/{known[-1]}/start", {}, json={"Detach": True})
    except WherryError:
        return True
    return False


def _wait_until_known(client: Client, init: int, known: list[str], when: str) -> None:
    """Wait until the container has the processes that the engine knows, and those alone."""
    deadline = time.monotonic() + _PATIENCE
    while (found := _inside(init)) != (wanted := {init, *_running(client, known)}):
        assert time.monotonic() < deadline, f"{when}: {found}, and known are {wanted}"
        time.sleep(0.01)  # nothing announces the end of what nobody knows


def _running(client: Client, known: list[str]) -> Iterator[int]:
    for one in known:
        found = client.session.get(f"/exec/{one}/json")
        if found["Running"]:
            yield int(found["Pid"])


def _inside(init: int) -> set[int]:
    """The processes in a container's PID namespace, by their numbers on the host; not those that
    have ended, and that the machine's first process has yet to reap."""
    wanted = os.readlink(f"/proc/{init}/ns/pid")
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it has ended
            if os.readlink(f"/proc/{pid}/ns/pid") == wanted and lives(int(pid)):
                found.add(int(pid))
    return found
