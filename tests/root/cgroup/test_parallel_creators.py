"""Groups that are made at the same time below parents that nobody has made or filled before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

import pytest

from wherry.cgroup import open_cgroups
from wherry.cgroup.api import Cgroup
from wherry.model.runtime_spec import LinuxResources

pytestmark = pytest.mark.root

ROOT = Path("/sys/fs/cgroup")
CPUSET = ROOT / "cpuset"
AT_ONCE = 8
ROUNDS = 5


@pytest.fixture
def parent(run_id: str) -> Iterator[str]:
    """The path of two levels of groups that do not exist; removed with what was made below."""
    yield f"/{run_id}-outer/inner"
    groups = open_cgroups()
    for path in (f"/{run_id}-outer/inner", f"/{run_id}-outer"):
        for top in [ROOT, *ROOT.iterdir()]:
            if (top / path.lstrip("/")).is_dir():
                groups.open(path).remove()
                break


@pytest.fixture
def sleepers() -> Iterator[list[Popen[bytes]]]:
    started = [Popen(["sleep", "1000"]) for _ in range(AT_ONCE)]
    yield started
    for one in started:
        one.kill()
        one.wait()


def test_first_starts_below_a_new_parent_do_not_meet(
    parent: str, sleepers: list[Popen[bytes]]
) -> None:
    groups = open_cgroups()
    for number in range(ROUNDS):
        gate = threading.Barrier(AT_ONCE)

        def begin(
            item: tuple[int, Popen[bytes]], gate: threading.Barrier = gate, number: int = number
        ) -> Cgroup:
            gate.wait()
            group = groups.create(f"{parent}/{number}/c{item[0]}", LinuxResources())
            group.add(item[1].pid)
            return group

        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = list(pool.map(begin, enumerate(sleepers)))
        assert [group.pids() for group in made] == [(one.pid,) for one in sleepers]


@pytest.mark.skipif(not CPUSET.is_dir(), reason="this machine has no cpuset of version 1")
def test_a_parent_that_its_maker_has_not_filled_yet_is_filled(
    parent: str, sleepers: list[Popen[bytes]]
) -> None:
    # What another creator has done that stopped between making the directories and filling them.
    inner = CPUSET / parent.lstrip("/")
    inner.mkdir(parents=True)
    assert (inner / "cpuset.cpus").read_text().strip() == ""
    group = open_cgroups().create(f"{parent}/c", LinuxResources())
    group.add(sleepers[0].pid)
    assert group.pids() == (sleepers[0].pid,)
    expected = (CPUSET / "cpuset.cpus").read_text()
    assert (inner / "cpuset.cpus").read_text() == expected
    assert (inner.parent / "cpuset.cpus").read_text() == expected
    group.kill()
    sleepers[0].wait()
    group.remove()
