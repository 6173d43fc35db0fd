"""Limits as settings of both versions, planned without any group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry.cgroup import limits_v1, limits_v2, trees
from wherry.cgroup.mounts import Hierarchy
from wherry.cgroup.settings import Setting
from wherry.cgroup.trees import Tree
from wherry.cgroup.unified import UnifiedCgroup
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxHugepageLimit,
    LinuxInterfacePriority,
    LinuxMemory,
    LinuxNetwork,
    LinuxPids,
    LinuxRdma,
    LinuxResources,
    LinuxThrottleDevice,
    LinuxWeightDevice,
)

EVERYTHING = LinuxResources(
    memory=LinuxMemory(limit=100, swap=300, reservation=50),
    cpu=LinuxCpu(shares=1024, quota=5000, period=10000, burst=7, cpus="0-1", mems="0", idle=0),
    pids=LinuxPids(limit=9),
    block_io=LinuxBlockIO(
        weight=10,
        weight_device=(LinuxWeightDevice(major=8, minor=1, weight=1000),),
        throttle_read_bps_device=(LinuxThrottleDevice(major=8, minor=0, rate=5),),
        throttle_write_bps_device=(LinuxThrottleDevice(major=8, minor=0, rate=0),),
    ),
    hugepage_limits=(LinuxHugepageLimit(page_size="2MB", limit=4),),
    rdma={"mlx": LinuxRdma(hca_handles=2)},
)


def lines(steps: tuple[tuple[Setting, ...], ...]) -> list[str]:
    return [f"{setting.file}={setting.value}" for step in steps for setting in step]


def test_all_limits_of_version_1() -> None:
    assert lines(limits_v1.plan(EVERYTHING)) == [
        "memory.limit_in_bytes=100",
        "memory.memsw.limit_in_bytes=300",
        "memory.soft_limit_in_bytes=50",
        "cpu.idle=0",
        "cpu.shares=1024",
        "cpu.cfs_period_us=10000",
        "cpu.cfs_quota_us=5000",
        "cpu.cfs_burst_us=7",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=9",
        "blkio.weight=10",
        "blkio.weight_device=8:1 1000",
        "blkio.throttle.read_bps_device=8:0 5",
        "blkio.throttle.write_bps_device=8:0 0",
        "hugetlb.2MB.limit_in_bytes=4",
        "rdma.max=mlx hca_handle=2 hca_object=max",
    ]


def test_all_limits_of_version_2() -> None:
    assert lines(limits_v2.plan(EVERYTHING)) == [
        "memory.swap.max=200",
        "memory.max=100",
        "memory.low=50",
        "cpu.idle=0",
        "cpu.weight=100",
        "cpu.max=5000 10000",
        "cpu.max.burst=7",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=9",
        "io.bfq.weight=default 10",
        "io.bfq.weight=8:1 1000",
        "io.max=8:0 rbps=5",
        "io.max=8:0 wbps=max",
        "hugetlb.2MB.max=4",
        "rdma.max=mlx hca_handle=2 hca_object=max",
    ]


@pytest.mark.parametrize("plan", [limits_v1.plan, limits_v2.plan])
def test_nothing_asked_nothing_written(plan: object) -> None:
    empty = LinuxResources(memory=LinuxMemory(), cpu=LinuxCpu(), block_io=LinuxBlockIO())
    assert plan(empty) == plan(LinuxResources()) == ()  # type: ignore[operator]


def test_unlimited() -> None:
    resources = LinuxResources(
        memory=LinuxMemory(limit=-1), cpu=LinuxCpu(quota=-1), pids=LinuxPids(limit=-1)
    )
    assert lines(limits_v1.plan(resources)) == [
        "memory.limit_in_bytes=-1",
        "memory.memsw.limit_in_bytes=-1",
        "cpu.cfs_quota_us=-1",
        "pids.max=max",
    ]
    assert lines(limits_v2.plan(resources)) == [
        "memory.swap.max=max",
        "memory.max=max",
        "cpu.max=max",
        "pids.max=max",
    ]


@pytest.mark.parametrize(
    ("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10000), (10**9, 10000)]
)
def test_cpu_weights(shares: int, weight: int) -> None:
    assert limits_v2.cpu_weight(shares) == weight


def test_cpu_weights_never_fall() -> None:
    weights = [limits_v2.cpu_weight(shares) for shares in range(2, 262145, 61)]
    assert weights == sorted(weights)


@pytest.mark.parametrize(("weight", "io"), [(10, 1), (500, 4950), (1000, 10000)])
def test_io_weights(weight: int, io: int) -> None:
    assert limits_v2.io_weight(weight) == io


@pytest.mark.parametrize(
    ("limit", "total", "message"),
    [
        (100, 50, "must not be below"),
        (None, 50, "needs a limit on memory"),
        (-1, 50, "needs a limit on memory"),
    ],
)
def test_swap_that_makes_no_sense(limit: int | None, total: int, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        limits_v2.plan(LinuxResources(memory=LinuxMemory(limit=limit, swap=total)))


def test_swap_equal_to_memory_is_none() -> None:
    resources = LinuxResources(memory=LinuxMemory(limit=100, swap=100))
    assert "memory.swap.max=0" in lines(limits_v2.plan(resources))


@pytest.mark.parametrize(
    "resources",
    [
        LinuxResources(memory=LinuxMemory(swappiness=5)),
        LinuxResources(memory=LinuxMemory(disable_oom_killer=True)),
        LinuxResources(memory=LinuxMemory(kernel=5)),
        LinuxResources(memory=LinuxMemory(kernel_tcp=5)),
        LinuxResources(cpu=LinuxCpu(realtime_runtime=5)),
        LinuxResources(network=LinuxNetwork(class_id=5)),
        LinuxResources(
            network=LinuxNetwork(priorities=(LinuxInterfacePriority(name="eth0", priority=1),))
        ),
    ],
)
def test_what_version_2_lacks(resources: LinuxResources) -> None:
    with pytest.raises(NotSupported):
        limits_v2.plan(resources)


def test_files_of_version_2_by_name() -> None:
    resources = LinuxResources(unified={"memory.high": "5", "io.max": "8:0 rbps=1\n8:1 rbps=2"})
    assert lines(limits_v2.plan(resources)) == [
        "memory.high=5",
        "io.max=8:0 rbps=1",
        "io.max=8:1 rbps=2",
    ]
    with pytest.raises(NotSupported, match=r"io\.max"):
        limits_v1.plan(resources)


@pytest.mark.parametrize("file", ["cgroup.procs", "memory", "memory.", "../x.y", "a/b.c"])
def test_files_that_are_none(file: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid file"):
        limits_v2.plan(LinuxResources(unified={file: "1"}))


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    """A directory with plain files in place of a hierarchy."""
    (tmp_path / "c1").mkdir()
    hierarchy = Hierarchy(2, str(tmp_path), frozenset({"memory"}))
    opened = trees.open_tree(hierarchy)
    yield opened
    os.close(opened.fd)


def test_settings_are_written(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "c1/memory.max").touch()
    trees.apply([(Setting("memory", "memory.max", "5"),)], {"memory": tree}, "c1")
    assert (tmp_path / "c1/memory.max").read_text() == "5"


def test_a_file_the_kernel_lacks_is_named_unless_it_was_not_asked_for(tree: Tree) -> None:
    find = {"memory": tree}
    trees.apply([(Setting("memory", "memory.swap.max", "max", optional=True),)], find, "c1")
    with pytest.raises(NotSupported, match=r"memory\.swap\.max .* this kernel lacks it"):
        trees.apply([(Setting("memory", "memory.swap.max", "1"),)], find, "c1")


def test_a_controller_the_host_lacks_is_named(tree: Tree) -> None:
    with pytest.raises(NotSupported, match="the pids controller"):
        trees.apply([(Setting("pids", "pids.max", "1"),)], {"memory": tree}, "c1")


@pytest.mark.parametrize(("plan", "bfq"), [(limits_v1.plan, True), (limits_v2.plan, False)])
def test_weights_of_the_scheduler_that_there_is(
    tree: Tree, tmp_path: Path, plan: Any, bfq: bool
) -> None:
    """Kernels without the file that comes first have the other one."""
    there = "blkio.bfq.weight" if bfq else "io.weight"
    (tmp_path / "c1" / there).touch()
    steps = plan(LinuxResources(block_io=LinuxBlockIO(weight=1000)))
    trees.apply(steps, {"blkio": tree, "io": tree}, "c1")
    assert (tmp_path / "c1" / there).read_text() == ("1000" if bfq else "default 10000")
    (tmp_path / "c1" / there).unlink()
    with pytest.raises(NotSupported, match=r"weight .* this kernel lacks it"):
        trees.apply(steps, {"blkio": tree, "io": tree}, "c1")


@pytest.fixture
def group(tree: Tree, tmp_path: Path) -> UnifiedCgroup:
    """One whose files are plain ones: no kernel in between."""
    files = {"cgroup.controllers": "memory", "memory.max": "100", "memory.current": "60"}
    for name, content in {**files, "memory.swap.max": "max"}.items():
        (tmp_path / "c1" / name).write_text(content)
    return UnifiedCgroup(tree, "/c1")


def test_a_limit_on_swap_alone_knows_that_on_memory(group: UnifiedCgroup, tmp_path: Path) -> None:
    group.update(LinuxResources(memory=LinuxMemory(swap=150)))
    assert (tmp_path / "c1/memory.swap.max").read_text()[:2] == "50"
    (tmp_path / "c1/memory.max").write_text("max")
    with pytest.raises(InvalidArgument, match="needs a limit on memory"):
        group.update(LinuxResources(memory=LinuxMemory(swap=150)))


@pytest.mark.parametrize(("limit", "swap"), [(60, None), (70, 60), (1, 2)])
def test_a_limit_is_compared_with_what_is_used_if_wanted(
    group: UnifiedCgroup, tmp_path: Path, limit: int, swap: int | None
) -> None:
    below = LinuxMemory(limit=limit, swap=swap, check_before_update=True)
    with pytest.raises(InvalidArgument, match="60 bytes are in use"):
        group.update(LinuxResources(memory=below))
    assert (tmp_path / "c1/memory.max").read_text() == "100"
    above = LinuxMemory(limit=61, check_before_update=True)
    group.update(LinuxResources(memory=above))
    assert (tmp_path / "c1/memory.max").read_text()[:2] == "61"
