"""What the OCI command line makes of limits, of ps(1)'s lines and of figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.cgroup.api import BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats
from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import (
    Linux,
    LinuxMemory,
    LinuxPersonality,
    LinuxPids,
    LinuxResources,
    Mount,
    Root,
    Spec,
)
from wherry.runtime.oci.default import default_spec
from wherry.runtime.oci.options import parse
from wherry.runtime.oci.running import figures, limits_from, select_lines
from wherry.runtime.oci.tolerance import (
    below_root,
    ignored,
    kernel_memory,
    with_default_devices,
)


def test_limits_by_options() -> None:
    options = "--memory 64m --memory-swap -1 --cpu-quota 5 --pids-limit 7 --cpuset-cpus 0-1 x"
    found = limits_from(parse(["update", *options.split()]))
    assert found.memory is not None
    assert (found.memory.limit, found.memory.swap, found.memory.reservation) == (64 << 20, -1, None)
    assert found.cpu is not None
    assert (found.cpu.quota, found.cpu.cpus, found.cpu.shares) == (5, "0-1", None)
    assert found.pids == LinuxPids(limit=7)
    assert found.block_io is None


@pytest.mark.parametrize(
    ("text", "size"), [("5", 5), ("1k", 1024), ("2gib", 2 << 30), ("3MB", 3 << 20)]
)
def test_sizes(text: str, size: int) -> None:
    found = limits_from(parse(["update", "--memory", text, "x"]))
    assert found.memory is not None
    assert found.memory.limit == size


@pytest.mark.parametrize("text", ["", "m", "-2", "1.5g", "5x"])
def test_bad_sizes(text: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a size"):
        limits_from(parse(["update", f"--memory={text}", "x"]))


def test_lines_of_processes() -> None:
    lines = ["USER PID CMD\n", "root 12 a\n", "root 1 12\n", "root 3 c\n"]
    assert select_lines(lines, (12, 3)) == [lines[0], lines[1], lines[3]]


@pytest.mark.parametrize("lines", [[], ["USER CMD\n", "root a\n"]])
def test_lines_without_process_numbers(lines: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="no column PID"):
        select_lines(lines, (1,))


def test_figures_have_runcs_names() -> None:
    stats = Stats(
        cpu=CpuStats(usage_ns=9, user_ns=4, system_ns=5, per_cpu_ns=(9,), throttled_ns=1),
        memory=MemoryStats(usage=10, limit=20, stat={"cache": 3}),
        pids=PidsStats(current=2, limit=3),
        io_bytes=(BlkioEntry(major=8, minor=0, op="Read", value=7),),
    )
    found = figures(stats)
    assert found["pids"] == {"current": 2, "limit": 3}
    assert found["memory"] == {
        "usage": {"limit": 20, "usage": 10, "max": 0, "failcnt": 0},
        "raw": {"cache": 3},
    }
    assert found["cpu"] == {
        "usage": {"total": 9, "percpu": (9,), "kernel": 5, "user": 4},
        "throttling": {"periods": 0, "throttledPeriods": 0, "throttledTime": 1},
    }


def test_default_devices_are_allowed_after_the_rules_only_where_there_are_any() -> None:
    spec = default_spec()
    found = with_default_devices(spec)
    assert found.linux is not None
    assert found.linux.resources is not None
    first, *added = found.linux.resources.devices
    assert not first.allow
    assert ("c", 1, 3, "rwm") in {(d.type, d.major, d.minor, d.access) for d in added}
    assert all(rule.allow for rule in added)
    assert all(rule.type for rule in added)
    bare = Spec(oci_version="1.2.0")
    assert with_default_devices(bare) is bare


@pytest.mark.parametrize("name", ["checkpoint", "restore"])
def test_refused_commands_take_whatever_is_given(name: str) -> None:
    found = parse([name, "--image-path", str(Path("/x")), "id"])
    assert found.command == name


def test_a_destination_may_begin_with_the_root() -> None:
    mounts = tuple(Mount(destination=path) for path in ("/b/rootfs/mnt/x", "/b/rootfsmnt", "/mnt"))
    spec = Spec(oci_version="1.2.0", root=Root(path="rootfs"), mounts=mounts)
    found = [mount.destination for mount in below_root(spec, "/b").mounts]
    assert found == ["/mnt/x", "/b/rootfsmnt", "/mnt"]


def test_a_root_that_is_the_hosts_own_takes_nothing_off() -> None:
    spec = Spec(oci_version="1.2.0", root=Root(path="/"), mounts=(Mount(destination="/mnt"),))
    assert below_root(spec, "/b") is spec


def test_flags_of_the_personality_are_a_warning() -> None:
    linux = Linux(personality=LinuxPersonality(domain="LINUX", flags=("ADDR_NO_RANDOMIZE",)))
    (text,) = ignored(Spec(oci_version="1.2.0", linux=linux))
    assert "ADDR_NO_RANDOMIZE" in text
    assert ignored(Spec(oci_version="1.2.0", linux=Linux())) == ()


def test_a_limit_on_kernel_memory_is_a_warning() -> None:
    memory = LinuxMemory(limit=1 << 26, kernel=1 << 25)
    linux = Linux(resources=LinuxResources(memory=memory))
    changed, (text,) = kernel_memory(Spec(oci_version="1.2.0", linux=linux))
    assert changed.linux is not None
    assert changed.linux.resources == LinuxResources(memory=LinuxMemory(limit=1 << 26))
    assert "kernel memory is ignored" in text
    assert kernel_memory(changed) == (changed, ())
