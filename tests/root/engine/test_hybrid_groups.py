"""An engine that is in a group of version 2 beside those of version 1, as systemd's services are
on hybrid hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.engine.conftest import IMAGE, TestEngine
from tests.root.runtime.boxes import eventually

from wherry.cgroup import open_cgroups
from wherry.daemon.wiring import open_engine
from wherry.engine.containers.groups import group_path
from wherry.engine.records import ExecOptions
from wherry.engine.settings import EngineSettings
from wherry.model.container import HostConfig

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.skipif(
        open_cgroups().mode != "hybrid", reason="control groups here are not of both versions"
    ),
]
TREE = Path("/sys/fs/cgroup/unified")


def own_group() -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line for line in lines if line.startswith("0::")).removeprefix("0::")


@pytest.fixture(scope="module")
def engine(roots: EngineSettings, run_id: str) -> Iterator[TestEngine]:
    """An engine whose launcher was started in a group; this process is there for that moment."""
    before, service = own_group(), TREE / f"{run_id}-service"
    service.mkdir()
    try:
        (service / "cgroup.procs").write_text("0")
        opened = open_engine(roots)
        opened.images.bootstrap(IMAGE, progress=lambda line: None)
        made = TestEngine(opened, roots)
        made.run("true")
        (TREE / before.lstrip("/") / "cgroup.procs").write_text("0")
        yield made
        opened.networks.purge()
        opened.close()
    finally:
        (TREE / before.lstrip("/") / "cgroup.procs").write_text("0")
        eventually(lambda: not (service / "cgroup.procs").read_text())  # its launcher's have ended
        service.rmdir()


@pytest.mark.parametrize("pids", ["", "host"])
def test_containers_are_in_their_own_group(engine: TestEngine, pids: str) -> None:
    """Not in the engine's: whoever stops that service would end them."""
    host = HostConfig(network_mode="none", pid_mode=pids)
    container = engine.create("sleep", "600", host=host)
    engine.engine.containers.start(container)
    try:
        own = group_path(engine.settings, "", container)
        pid = engine.engine.containers.get(container).state.pid
        assert f"0::{own}\n" in Path(f"/proc/{pid}/cgroup").read_text()
        execs = engine.engine.execs
        execs.start(execs.create(container, ExecOptions(cmd=("sleep", "600"))), detach=True)
        inside = (TREE / own.lstrip("/") / "cgroup.procs").read_text().split()
        assert len(inside) == 2
        assert str(pid) in inside
        assert str(os.getpid()) not in inside
    finally:
        engine.engine.containers.remove(container, force=True)
    assert not (TREE / own.lstrip("/")).exists()


def test_the_namespace_s_root_is_the_group(engine: TestEngine) -> None:
    host = HostConfig(network_mode="none", cgroupns_mode="private")
    shown = engine.run("grep", "^0::", "/proc/self/cgroup", host=host).stdout
    assert shown == b"0::/\n"
