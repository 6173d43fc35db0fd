"""What only control groups of version 2 have; skipped by name elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience
from tests.root.engine.conftest import TestEngine

from wherry.cgroup import open_cgroups
from wherry.engine.containers.groups import group_path
from wherry.engine.records import ExecOptions
from wherry.errors import NotFound
from wherry.model.container import HostConfig, ThrottleDevice

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("nothing_is_left"),
    pytest.mark.skipif(
        open_cgroups().mode != "unified", reason="control groups here are not of version 2 alone"
    ),
]
MB = 1 << 20
ROOT = Path("/sys/fs/cgroup")


def directory(engine: TestEngine, container: str, parent: str = "") -> Path:
    return Path(f"{ROOT}{group_path(engine.settings, parent, container)}")


@pytest.fixture
def started(engine: Any) -> Iterator[Any]:
    """Starts containers that sleep, and removes them."""
    made = []

    def start(host: HostConfig) -> str:
        container: str = engine.create("sleep", "600", host=host)
        made.append(container)
        engine.engine.containers.start(container)
        return container

    yield start
    for container in made:
        with suppress(NotFound):  # a test may have removed its own
            engine.engine.containers.remove(container, force=True)


def a_disk() -> tuple[str, str]:
    """The node and the number of a block device that has a queue."""
    for queue in sorted(Path("/sys/block").glob("*/queue")):
        node = Path("/dev", queue.parent.name)
        if not queue.parent.name.startswith(("loop", "ram", "zram")) and node.is_block_device():
            number = node.stat().st_rdev
            return str(node), f"{os.major(number)}:{os.minor(number)}"
    pytest.skip("this machine has no disk of its own")


def test_rates_of_a_disk(engine: TestEngine, started: Any) -> None:
    path, number = a_disk()
    assert stat.S_ISBLK(Path(path).stat().st_mode)
    container = started(
        HostConfig(
            network_mode="none",
            blkio_device_read_bps=(ThrottleDevice(path=path, rate=4 * MB),),
            blkio_device_write_iops=(ThrottleDevice(path=path, rate=500),),
        )
    )
    limits = (directory(engine, container) / "io.max").read_text()
    assert limits == f"{number} rbps={4 * MB} wbps=max riops=max wiops=500\n"


def test_processes_of_an_exec_are_in_the_group(engine: TestEngine, started: Any) -> None:
    """With a limit on processes that an exec which was moved in late would not be held by."""
    container = started(HostConfig(network_mode="none", pids_limit=8, cgroupns_mode="host"))
    execs = engine.engine.execs
    config = ExecOptions(cmd=("sh", "-c", "exec sleep 600"))
    execs.start(execs.create(container, config), detach=True)
    group = directory(engine, container)
    first = engine.engine.containers.get(container).state.pid
    (other,) = {int(pid) for pid in (group / "cgroup.procs").read_text().split()} - {first}
    assert Path(f"/proc/{other}/cgroup").read_text() == f"0::/{group.relative_to(ROOT)}\n"
    assert (group / "pids.current").read_text() == "2\n"


def options_of_the_tree() -> str:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return next(line.rsplit(" ", 1)[1] for line in lines if f" {ROOT} " in line)


def test_the_host_s_namespace_without_a_change_of_the_host_s_tree(engine: TestEngine) -> None:
    """To mount the tree there once more would take its options off it."""
    before = options_of_the_tree()
    host = HostConfig(network_mode="none", cgroupns_mode="host")
    script = "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/cgroup.procs; touch /sys/fs/cgroup/x"
    shown = engine.run("sh", "-c", script, host=host)
    path, procs = shown.stdout.decode().split()
    assert path.startswith(f"0::{engine.settings.cgroup_root}/")
    assert procs == "/sys/fs/cgroup/cgroup.procs"
    assert b"Read-only file system" in shown.stderr
    assert options_of_the_tree() == before


def test_a_container_cannot_lift_its_limits(engine: TestEngine) -> None:
    """Not even where it may write to its groups: the limits are beyond what was delegated to the
    namespace (the mount option nsdelegate, cgroup-v2.rst). Groups below them it may make."""
    host = HostConfig(network_mode="none", privileged=True, pids_limit=25, cgroupns_mode="private")
    script = """
        cd /sys/fs/cgroup && mkdir inner && echo $$ >inner/cgroup.procs && cat /proc/self/cgroup
        echo max 2>/dev/null >pids.max && echo lifted
        echo max 2>/dev/null >memory.max && echo lifted
        cat pids.max
    """
    assert engine.run("sh", "-c", script, host=host).stdout == b"0::/inner\n25\n"


def test_a_parent_of_the_caller_s(engine: TestEngine, started: Any, run_id: str) -> None:
    """Its limit holds for all below it, and is the caller's to remove."""
    parent = ROOT / f"{run_id}-parent"
    parent.mkdir()
    try:
        container = started(HostConfig(network_mode="none", cgroup_parent=f"/{parent.name}/deep"))
        group = directory(engine, container, f"/{parent.name}/deep")
        assert group.is_relative_to(parent / "deep")
        assert group.is_dir()
        engine.engine.containers.update(container, HostConfig(memory=32 * MB, pids_limit=9))
        assert (group / "memory.max").read_text() == f"{32 * MB}\n"
        assert (group / "pids.max").read_text() == "9\n"
        assert (parent / "pids.max").read_text() == "max\n"
        engine.engine.containers.remove(container, force=True)
        assert not group.exists()
    finally:
        for path in (parent / "deep", parent):
            if path.exists():
                path.rmdir()


def test_all_are_killed_together_where_that_is_asked_for(engine: TestEngine, started: Any) -> None:
    """``memory.oom.group``, which no field of Docker's sets: an administrator may write it."""
    limits = HostConfig(network_mode="none", memory=24 * MB, memory_swap=24 * MB)
    container = started(limits)
    (directory(engine, container) / "memory.oom.group").write_text("1")
    exited = engine.engine.containers.wait(container, "next-exit")
    execs = engine.engine.execs
    eater = "x=0123456789abcdef; while :; do x=$x$x; done"
    config = ExecOptions(cmd=("sh", "-c", eater))
    execs.start(execs.create(container, config), detach=True)
    assert exited.result(patience(30)).exit_code == 137
    assert engine.engine.containers.get(container).state.oom_killed
