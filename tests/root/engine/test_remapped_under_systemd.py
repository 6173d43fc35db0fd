"""``--userns-remap`` together with systemd's control groups; skipped by name without systemd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.engine.test_exec_options import execute
from tests.root.engine.test_remapped_users import FIRST, RANGES, owner
from tests.root.engine.test_under_systemd import directory, runs, systemctl, unit_of
from tests.root.runtime.boxes import eventually

from wherry.engine.settings import EngineSettings
from wherry.errors import NotFound
from wherry.model.users import UserMap
from wherry.runtime.api import CommandNotFound
from wherry.sys import bpf

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not runs(), reason="this machine lacks systemd with control groups of version 2 alone"
    ),
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> EngineSettings:
    root = tmp_path_factory.mktemp("mapped")
    return EngineSettings(
        data_root=str(root / "data"),
        exec_root=str(root / "exec"),
        users=UserMap(uids=RANGES, gids=RANGES),
        systemd_cgroups=True,
    )


@pytest.fixture
def container(engine: TestEngine) -> Iterator[str]:
    made = engine.create("sleep", "600")
    engine.engine.containers.start(made)
    yield made
    with suppress(NotFound):  # a test may have removed it
        engine.engine.containers.remove(made, force=True)


def test_its_processes_are_in_the_scope(engine: TestEngine, container: str) -> None:
    pid = engine.engine.containers.get(container).state.pid
    assert owner(f"/proc/{pid}") == (FIRST, FIRST)
    mine = os.readlink(f"/proc/{pid}/ns/user")
    assert execute(engine, container, "readlink", "/proc/self/ns/user") == mine
    assert (directory(engine, container) / "cgroup.procs").read_text() == f"{pid}\n"
    assert systemctl("show", "-p", "Delegate,ActiveState", unit_of(container)).splitlines() == [
        "Delegate=yes",
        "ActiveState=active",
    ]
    engine.engine.containers.remove(container, force=True)
    eventually(lambda: not directory(engine, container).exists())


def test_nobody_is_left_to_be_reaped(engine: TestEngine, container: str) -> None:
    """What has gone into the namespace to clone the container's first process ends at once."""
    pid = engine.engine.containers.get(container).state.pid
    stat = Path(f"/proc/{pid}/stat").read_text()
    monitor = stat.rpartition(")")[2].split()[1]
    children = Path(f"/proc/{monitor}/task/{monitor}/children")
    eventually(lambda: children.read_text().split() == [str(pid)])


def test_devices_are_restricted(engine: TestEngine, container: str) -> None:
    """By a filter that only the host's root can attach."""
    group = os.open(directory(engine, container), os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert len(bpf.device_programs(group)) == 1
    finally:
        os.close(group)
    assert execute(engine, container, "sh", "-c", "echo x > /dev/null && echo written") == "written"


def test_a_start_that_fails_leaves_no_scope(engine: TestEngine) -> None:
    made = engine.create("nosuch")
    with pytest.raises(CommandNotFound, match="nosuch"):
        engine.engine.containers.start(made)
    engine.engine.containers.remove(made)
    assert systemctl("show", "-p", "LoadState", unit_of(made)) == "LoadState=not-found"


def test_it_can_be_started_again(engine: TestEngine, container: str) -> None:
    containers = engine.engine.containers
    containers.restart(container, timeout=0)
    pid = containers.get(container).state.pid
    assert (directory(engine, container) / "cgroup.procs").read_text() == f"{pid}\n"
