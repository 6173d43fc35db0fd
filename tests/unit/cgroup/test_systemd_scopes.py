from __future__ import annotations

import pytest

from wherry.cgroup.scopes import (
    bitmap,
    first_properties,
    limit_properties,
    parse_scope,
    scope_of,
    slice_path,
)
from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import (
    LinuxBlockIO,
    LinuxCpu,
    LinuxMemory,
    LinuxPids,
    LinuxResources,
)

UNLIMITED = 2**64 - 1


@pytest.mark.parametrize(
    ("asked", "unit", "path"),
    [
        ("", "wherry-box.scope", "/system.slice/wherry-box.scope"),
        (":docker:abc", "docker-abc.scope", "/system.slice/docker-abc.scope"),
        ("a-b.slice:p:n", "p-n.scope", "/a.slice/a-b.slice/p-n.scope"),
        ("user.slice::alone", "alone.scope", "/user.slice/alone.scope"),
        ("-.slice:p:n", "p-n.scope", "/p-n.scope"),
    ],
)
def test_where_a_scope_is(asked: str, unit: str, path: str) -> None:
    scope = parse_scope(asked, "box")
    assert (scope.unit, scope.path) == (unit, path)
    assert scope_of(path) == scope


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("/wherry/x", "expected cgroupsPath to be of format 'slice:prefix:name'"),
        ("a:b:c:d", "expected cgroupsPath"),
        ("a.slice:p:", "invalid name of a systemd scope"),
        ("a.slice:p:x/../y", "invalid name of a systemd scope"),
        ("a.slice:p:b.slice", "invalid name of a systemd scope"),
        ("a.slice:p:" + "x" * 300, "invalid name of a systemd scope"),
        ("a:p:n", "valid slice"),
        ("a--b.slice:p:n", "valid slice"),
        ("-a.slice:p:n", "valid slice"),
        ("../x.slice:p:n", "valid slice"),
    ],
)
def test_what_no_scope_can_be_called(asked: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_scope(asked, "box")


@pytest.mark.parametrize("path", ["x.scope", "/a.slice/x", "/wherry/x", ""])
def test_groups_that_are_no_scopes(path: str) -> None:
    with pytest.raises(InvalidArgument, match="not that of a systemd scope"):
        scope_of(path)


def test_the_steps_to_a_slice() -> None:
    assert slice_path("-.slice") == ""
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"


def test_limits_as_systemd_counts_them() -> None:
    resources = LinuxResources(
        memory=LinuxMemory(limit=64 << 20, swap=96 << 20, reservation=32 << 20),
        cpu=LinuxCpu(shares=1024, quota=12_345, period=100_000, cpus="0-1,3", mems="0"),
        pids=LinuxPids(limit=7),
        block_io=LinuxBlockIO(weight=1000),
    )
    assert dict(limit_properties(resources)) == {
        "MemoryMax": ("t", 64 << 20),
        "MemorySwapMax": ("t", 32 << 20),
        "MemoryLow": ("t", 32 << 20),
        "CPUWeight": ("t", 100),
        "CPUQuotaPerSecUSec": ("t", 130_000),  # 123,450 rounded up
        "CPUQuotaPeriodUSec": ("t", 100_000),
        "AllowedCPUs": ("ay", b"\x0b"),
        "AllowedMemoryNodes": ("ay", b"\x01"),
        "TasksMax": ("t", 7),
        "IOWeight": ("t", 10_000),
    }


def test_limits_that_are_lifted() -> None:
    resources = LinuxResources(
        memory=LinuxMemory(limit=-1), cpu=LinuxCpu(quota=-1), pids=LinuxPids(limit=-1)
    )
    assert dict(limit_properties(resources)) == {
        "MemoryMax": ("t", UNLIMITED),
        "MemorySwapMax": ("t", UNLIMITED),
        "CPUQuotaPerSecUSec": ("t", UNLIMITED),
        "TasksMax": ("t", UNLIMITED),
    }
    assert limit_properties(LinuxResources()) == []


def test_a_scope_is_handed_over_with_its_first_process() -> None:
    made = dict(first_properties(parse_scope("a.slice:p:n", ""), 42, LinuxResources()))
    assert made["PIDs"] == ("au", [42])
    assert made["Slice"] == ("s", "a.slice")
    assert made["Delegate"] == ("b", True)
    assert made["CollectMode"] == ("s", "inactive-or-failed")


def test_bits_of_processors() -> None:
    assert bitmap("0") == b"\x01"
    assert bitmap("0-2, 9") == b"\x07\x02"
    for wrong in ("", "a", "1-", "-1", "0-99999", "9999"):
        with pytest.raises(InvalidArgument, match="invalid list"):
            bitmap(wrong)
