"""Every limit that ``update`` takes, on a container that runs and on one that is started later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

MB = 1 << 20

# What is asked for; the file and its value with control groups of version 1, and of version 2.
CASES = [
    ({"cpu_shares": 512}, ("cpu.shares", "512"), ("cpu.weight", "59")),
    (
        {"cpu_period": 50_000, "cpu_quota": 20_000},
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.max", "20000 50000"),
    ),
    ({"nano_cpus": 500_000_000}, ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    ({"cpuset_cpus": "0"}, ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ({"cpuset_mems": "0"}, ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    (
        {"memory": 64 * MB, "memory_swap": 96 * MB},
        ("memory.limit_in_bytes", str(64 * MB)),
        ("memory.max", str(64 * MB)),
    ),
    (
        {"memory": 64 * MB, "memory_swap": -1},
        ("memory.memsw.limit_in_bytes", "9223372036854771712"),
        ("memory.swap.max", "max"),
    ),
    (
        {"memory_reservation": 32 * MB},
        ("memory.soft_limit_in_bytes", str(32 * MB)),
        ("memory.low", str(32 * MB)),
    ),
    ({"pids_limit": 33}, ("pids.max", "33"), ("pids.max", "33")),
    ({"pids_limit": -1}, ("pids.max", "max"), ("pids.max", "max")),
]


@pytest.fixture
def sleeper(engine: Any) -> Iterator[str]:
    container = engine.create("sleep", "600")
    engine.engine.containers.start(container)
    yield container
    engine.engine.containers.remove(container, force=True)


def files_of(container: str) -> dict[str, Path]:
    """The files of a container's group, by name: all controllers together. os.walk() does not mind
    groups of others that vanish meanwhile."""
    groups = [Path(at) for at, _, _ in os.walk("/sys/fs/cgroup") if at.endswith(container)]
    return {path.name: path for group in groups for path in group.iterdir()}


def check(container: str, *expected: tuple[str, str]) -> None:
    found = files_of(container)
    values = {name: found[name].read_text().strip() for name, _ in expected if name in found}
    if not values:
        pytest.skip(f"this kernel has none of {', '.join(name for name, _ in expected)}")
    assert values.items() <= set(expected)


@pytest.mark.parametrize(("wanted", "first", "second"), CASES)
def test_a_limit_of_a_running_container(
    engine: Any, sleeper: str, wanted: dict[str, Any], first: Any, second: Any
) -> None:
    engine.engine.containers.update(sleeper, HostConfig(**wanted))
    check(sleeper, first, second)
    host = engine.engine.containers.get(sleeper).host
    assert {name: getattr(host, name) for name in wanted} == wanted


def test_limits_of_a_container_that_is_started_later(engine: Any) -> None:
    container = engine.create("sleep", "600")
    asked = CASES[0], CASES[2], CASES[3], CASES[5], CASES[7], CASES[8]
    for wanted, _, _ in asked:
        engine.engine.containers.update(container, HostConfig(**wanted))
    engine.engine.containers.start(container)
    for _, first, second in asked:
        check(container, first, second)
    engine.engine.containers.remove(container, force=True)
