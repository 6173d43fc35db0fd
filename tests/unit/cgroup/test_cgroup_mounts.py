from __future__ import annotations

from wherry.cgroup.mounts import Hierarchy, parse_layout

V1 = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /sys/fs/cgroup/again rw - cgroup cgroup rw,cpuacct,cpu
34 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd
36 31 0:40 / /mnt/elsewhere rw - cgroup cgroup rw,pids
37 31 0:41 / /sys/fs/cgroup/with\\040blank rw - cgroup cgroup rw,blkio
"""
UNIFIED = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
ROOT = "/sys/fs/cgroup"


def test_version_1() -> None:
    layout = parse_layout(ROOT, V1.splitlines())
    assert layout is not None
    assert layout.mode == "legacy"
    assert layout.unified is None
    assert layout.legacy == (
        Hierarchy(1, f"{ROOT}/cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
        Hierarchy(1, f"{ROOT}/memory", frozenset({"memory"})),
        Hierarchy(1, f"{ROOT}/systemd", frozenset(), "systemd"),
        Hierarchy(1, f"{ROOT}/with blank", frozenset({"blkio"})),
    )


def test_hybrid() -> None:
    layout = parse_layout(ROOT, (V1 + UNIFIED).splitlines())
    assert layout is not None
    assert layout.mode == "hybrid"
    assert layout.unified == Hierarchy(2, f"{ROOT}/unified", frozenset())


def test_unified_alone() -> None:
    line = "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    layout = parse_layout(ROOT, [line])
    assert layout is not None
    assert (layout.mode, layout.legacy) == ("unified", ())


def test_a_part_of_a_host() -> None:
    layout = parse_layout(f"{ROOT}/unified", (V1 + UNIFIED).splitlines())
    assert layout is not None
    assert layout.mode == "unified"


def test_nothing_is_mounted() -> None:
    assert parse_layout("/elsewhere", V1.splitlines()) is None
