from __future__ import annotations

from wherry.runtime.ops.moved_root import others

MOUNTS = r"""
21 1 8:1 / / rw,relatime - ext4 /dev/root rw
22 21 0:20 / /proc rw - proc proc rw
23 21 0:21 / /run rw shared:5 - tmpfs tmpfs rw
24 23 0:22 / /run/user\040files rw - tmpfs tmpfs rw
25 23 0:23 / /run/box/rootfs rw - overlay overlay rw
26 25 0:24 / /run/box/rootfs/proc rw - proc proc rw
27 23 0:25 / /run/box/rootfs2 rw - tmpfs tmpfs rw
""".strip()


def test_what_is_taken_away_is_neither_below_the_root_nor_what_it_lies_on() -> None:
    found = list(others(MOUNTS, "/run/box/rootfs"))
    assert found == ["/run/box/rootfs2", "/run/user files", "/proc"]
