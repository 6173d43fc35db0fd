"""A container with users of its own is set up in another order: its group is made before its
processes lose the power to. Whoever is killed meanwhile, nothing of it is left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.moments import Moments

from wherry.daemon.wiring import open_engine
from wherry.engine.engine import Engine
from wherry.engine.settings import EngineSettings
from wherry.errors import WherryError
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig
from wherry.model.idmap import IdRange
from wherry.model.users import UserMap
from wherry.sys.faults import VARIABLE, Point

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leftovers")]

FIRST = 700_000
_POINTS: tuple[Point, ...] = (
    "starter.taken",
    "starter.planned",
    "init.begun",
    "starter.cloned",
    "starter.recorded",
    "starter.executed",
)


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moments]:
    made = Moments(tmp_path / "moments")
    monkeypatch.setenv(VARIABLE, made.address)
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    ranges = (IdRange(0, FIRST, 65536),)
    return EngineSettings(
        data_root=str(tmp_path / "data"),
        exec_root=str(tmp_path / "run"),
        users=UserMap(uids=ranges, gids=ranges),
    )


@pytest.fixture
def engine(moments: Moments, settings: EngineSettings) -> Iterator[Engine]:
    opened = open_engine(settings)
    opened.images.bootstrap("busybox:latest", progress=lambda line: None)
    yield opened
    for container in opened.containers.list(running_only=False):
        opened.containers.remove(container.id, force=True, volumes=True)
    opened.networks.purge()
    opened.close()


def mapped_processes() -> list[int]:
    """Those that belong to a user of the containers."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            uid = os.stat(f"/proc/{name}").st_uid
        except FileNotFoundError:
            continue
        if FIRST <= uid < FIRST + 65536:
            found.append(int(name))
    return found


def groups(settings: EngineSettings) -> list[str]:
    """The groups of this engine's containers."""
    trees = ["/sys/fs/cgroup", *(entry.path for entry in os.scandir("/sys/fs/cgroup"))]
    places = [f"{tree}{settings.cgroup_root}" for tree in trees]
    return [
        entry.path
        for place in places
        if os.path.isdir(place)
        for entry in os.scandir(place)
        if entry.is_dir()
    ]


def test_nothing_is_left_of_a_start(
    engine: Engine, settings: EngineSettings, moments: Moments
) -> None:
    config = ContainerConfig(image="busybox:latest", cmd=("sleep", "100000"))
    host = HostConfig(network_mode="none")
    container = engine.containers.create("box", config, host, NetworkingConfig()).id
    for point in _POINTS:
        moments.arm(point, lambda pid: os.kill(pid, signal.SIGKILL))
        with pytest.raises(WherryError):
            engine.containers.start(container)
        assert moments.disarm(0), point
        assert mapped_processes() == [], point
        assert groups(settings) == [], point
    engine.containers.start(container)
    assert len(mapped_processes()) == 1
