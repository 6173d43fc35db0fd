"""The control groups of this host, whichever versions it has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from wherry.cgroup import trees
from wherry.cgroup.api import Cgroup, Cgroups
from wherry.cgroup.legacy import LegacyCgroup, LegacyHost
from wherry.cgroup.mounts import Layout, read_layout
from wherry.cgroup.unified import UnifiedCgroup
from wherry.errors import Conflict, NotFound, WherryError
from wherry.model.runtime_spec import LinuxResources

_Group = TypeVar("_Group", LegacyCgroup, UnifiedCgroup)


@cache
def open_cgroups(root: str = "/sys/fs/cgroup") -> Cgroups:
    """The control groups mounted at or below ``root``; NotSupported if there are none.

    The result holds one descriptor for each tree as long as the process lives.
    """
    layout = read_layout(root)
    if layout.mode == "unified":
        return UnifiedCgroups(layout)
    return LegacyCgroups(layout)


class LegacyCgroups:
    """Version 1, alone or beside a version 2 that has no controllers (hybrid)."""

    def __init__(self, layout: Layout) -> None:
        hierarchies = [*layout.legacy, *filter(None, [layout.unified])]
        self._mode = layout.mode
        self._host = LegacyHost([trees.open_tree(hierarchy) for hierarchy in hierarchies])

    @property
    def mode(self) -> str:
        return self._mode

    def create(self, path: str, resources: LinuxResources, first: int = 0) -> Cgroup:
        return _created(lambda: LegacyCgroup(self._host, path), resources, first)

    def open(self, path: str) -> Cgroup:
        group = LegacyCgroup(self._host, path)
        if not any(trees.exists(tree, trees.relative(path)) for tree in self._host.trees):
            raise NotFound(f"no control group {path}")
        return group

    def remove_if_empty(self, path: str) -> None:
        for tree in self._host.trees:
            trees.remove_if_empty(tree, trees.relative(path))


class UnifiedCgroups:
    """Version 2 alone."""

    def __init__(self, layout: Layout) -> None:
        assert layout.unified is not None
        self._tree = trees.open_tree(layout.unified)

    @property
    def mode(self) -> str:
        return "unified"

    def create(self, path: str, resources: LinuxResources, first: int = 0) -> Cgroup:
        return _created(lambda: UnifiedCgroup(self._tree, path), resources, first)

    def open(self, path: str) -> Cgroup:
        if not trees.exists(self._tree, trees.relative(path)):
            raise NotFound(f"no control group {path}")
        return UnifiedCgroup(self._tree, path)

    def remove_if_empty(self, path: str) -> None:
        trees.remove_if_empty(self._tree, trees.relative(path))


def _created(make: Callable[[], _Group], resources: LinuxResources, first: int) -> _Group:
    """Make a group, once more if an empty one was in the way (a monitor that was killed)."""
    group = make()
    try:
        _make_or_remove(group, resources, first)
    except FileExistsError:
        if group.pids():
            raise Conflict(f"control group {group.path} is in use by other processes") from None
        group.remove()
        _make_or_remove(group, resources, first)
    return group


def _make_or_remove(group: _Group, resources: LinuxResources, first: int) -> None:
    try:
        group.make(resources)
        if first:
            group.add(first)
    except FileExistsError:
        raise
    except BaseException:
        with contextlib.suppress(WherryError, OSError):
            group.remove()
        raise
