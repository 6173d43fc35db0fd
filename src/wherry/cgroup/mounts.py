"""Where this host has its control groups, from ``/proc/self/mountinfo`` (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from wherry.errors import NotSupported
from wherry.sys.mountinfo import unescaped

Mode = Literal["legacy", "hybrid", "unified"]

_CONTROLLER_NAMES = """
    blkio cpu cpuacct cpuset debug devices freezer hugetlb memory misc net_cls net_prio perf_event
    pids rdma
"""
_CONTROLLERS = frozenset(_CONTROLLER_NAMES.split())


class Hierarchy(msgspec.Struct, frozen=True):
    """One mounted tree of control groups. ``version`` is 1 or 2; a tree of version 1 without
    controllers is a named one (``name=systemd``)."""

    version: int
    mountpoint: str
    controllers: frozenset[str]
    name: str = ""


class Layout(msgspec.Struct, frozen=True):
    """All trees of a host; ``unified`` is that of version 2, if there is one."""

    mode: Mode
    legacy: tuple[Hierarchy, ...]
    unified: Hierarchy | None


def read_layout(root: str, mountinfo: str = "/proc/self/mountinfo") -> Layout:
    """Find the trees mounted at or below ``root``; NotSupported if there are none."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        layout = parse_layout(root, file)
    if layout is None:
        raise NotSupported(f"no control groups are mounted below {root}")
    return layout


def parse_layout(root: str, lines: Iterable[str]) -> Layout | None:
    legacy: dict[frozenset[str] | str, Hierarchy] = {}
    unified = None
    for hierarchy in _hierarchies(lines):
        if not _is_below(root, hierarchy.mountpoint):
            continue
        if hierarchy.version == 2:
            unified = unified or hierarchy
        else:
            legacy.setdefault(hierarchy.controllers or hierarchy.name, hierarchy)
    if not legacy and unified is None:
        return None
    mode: Mode = "unified" if not legacy else "legacy" if unified is None else "hybrid"
    return Layout(mode, tuple(legacy.values()), unified)


def _is_below(root: str, path: str) -> bool:
    return os.path.commonpath((root, path)) == root.rstrip("/") or root == path


def _hierarchies(lines: Iterable[str]) -> Iterator[Hierarchy]:
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields, (kind, *rest) = before.split(), after.split()
        if not separator or kind not in ("cgroup", "cgroup2"):
            continue
        mountpoint = unescaped(fields[4])
        if kind == "cgroup2":
            yield Hierarchy(2, mountpoint, frozenset())
            continue
        options = rest[-1].split(",")
        names = [option[5:] for option in options if option.startswith("name=")]
        controllers = _CONTROLLERS.intersection(options)
        yield Hierarchy(1, mountpoint, controllers, names[0] if names else "")
