"""Groups of version 1, one in each tree, and of the trees without limits (systemd's, unified)."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wherry.cgroup import files, limits_v1, trees
from wherry.cgroup.creation import created
from wherry.cgroup.devices import check_rule, legacy_commands
from wherry.cgroup.mounts import Layout
from wherry.cgroup.trees import Tree
from wherry.errors import InternalError, NotFound, NotSupported, Unavailable
from wherry.model.runtime_spec import LinuxDeviceCgroup, LinuxResources

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroup, Stats

_FREEZE_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 10.0


class LegacyHost:
    """The trees of a host with version 1, and which of them has a controller."""

    def __init__(self, all_trees: Sequence[Tree]) -> None:
        self.trees = tuple(all_trees)
        self.by_controller = {c: tree for tree in self.trees for c in tree.hierarchy.controllers}
        self.main = self.by_controller.get("freezer", self.trees[0])


class LegacyCgroup:
    """A group that exists in all trees of the host, or in those it was found in."""

    def __init__(self, host: LegacyHost, path: str) -> None:
        self._host = host
        self._path = trees.relative(path)

    @property
    def path(self) -> str:
        return "/" + self._path

    def directory_fd(self) -> int | None:
        tree = next((tree for tree in self._host.trees if tree.hierarchy.version == 2), None)
        return None if tree is None else trees.open_group(tree, self._path)

    def make(self, resources: LinuxResources) -> None:
        """Make the directories and set the limits; the caller removes what an error leaves."""
        steps = limits_v1.plan(resources)
        for tree in self._host.trees:
            self._make_in(tree)
        self._inherit_cpuset()
        trees.apply(steps, self._host.by_controller, self._path)
        self._apply_devices(resources.devices)

    def _make_in(self, tree: Tree) -> None:
        try:
            trees.make_directory(tree, self._path)
        except FileNotFoundError:
            self._make_parents(tree)
            trees.make_directory(tree, self._path)

    def _make_parents(self, tree: Tree) -> None:
        parts = self._path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            with contextlib.suppress(FileExistsError):
                trees.make_directory(tree, parent)
            if "cpuset" in tree.hierarchy.controllers:
                _inherit_cpuset(tree, parent)

    def _inherit_cpuset(self) -> None:
        """A group without processors and memory nodes of its own takes no process."""
        tree = self._host.by_controller.get("cpuset")
        if tree is not None:
            _inherit_cpuset(tree, self._path)

    def _apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
        if not rules:
            return
        tree = self._host.by_controller.get("devices")
        if tree is None:
            raise NotSupported(
                "cannot restrict devices: the devices controller of control groups is not "
                "available on this host"
            )
        for allow, lines in _device_batches(rules):
            file = "devices.allow" if allow else "devices.deny"
            try:
                files.write_lines(tree.fd, f"{self._path}/{file}", lines)
            except OSError as error:
                raise InternalError(
                    f"cannot write {', '.join(lines)} to {file} of control group {self.path}: "
                    f"{error.strerror}"
                ) from error

    def add(self, pid: int) -> None:
        for tree in self._host.trees:
            trees.join(tree, self._path, pid)

    def update(self, resources: LinuxResources) -> None:
        trees.apply(limits_v1.plan(resources), self._host.by_controller, self._path)
        self._apply_devices(resources.devices)

    def freeze(self) -> None:
        tree = self._freezer()

        def frozen() -> bool:
            # A process that was forking can leave the group FREEZING until it is asked again.
            files.write(tree.fd, f"{self._path}/freezer.state", "FROZEN")
            return files.read(tree.fd, f"{self._path}/freezer.state").strip() == "FROZEN"

        if not files.wait_until(frozen, _FREEZE_TIMEOUT_S):
            self.thaw()
            raise Unavailable(f"control group {self.path} could not be frozen")

    def thaw(self) -> None:
        files.write(self._freezer().fd, f"{self._path}/freezer.state", "THAWED")

    def frozen(self) -> bool:
        tree = self._host.by_controller.get("freezer")
        if tree is None:
            return False
        return files.read(tree.fd, f"{self._path}/freezer.state").strip() != "THAWED"

    def _freezer(self) -> Tree:
        tree = self._host.by_controller.get("freezer")
        if tree is None:
            raise NotSupported(
                "cannot pause: the freezer controller of control groups is not available"
            )
        return tree

    def pids(self) -> tuple[int, ...]:
        return tuple(sorted(files.processes(self._host.main.fd, self._path)))

    def kill(self) -> None:
        if not files.wait_until(self._kill_once, _END_TIMEOUT_S):
            raise Unavailable(f"control group {self.path} still has processes after SIGKILL")

    def _kill_once(self) -> bool:
        """Kill what is there while it cannot fork; True if nothing was there."""
        if not self.pids():
            return True
        can_freeze = "freezer" in self._host.by_controller
        if can_freeze:
            with contextlib.suppress(Unavailable):
                self.freeze()
        trees.signal_all(self.pids(), signal.SIGKILL)
        if can_freeze:
            self.thaw()
        return False

    def stats(self) -> Stats:
        from wherry.cgroup import stats_v1  # most processes ask for none

        return stats_v1.stats(self._place)

    def _place(self, controller: str) -> tuple[int, str] | None:
        tree = self._host.by_controller.get(controller)
        return None if tree is None else (tree.fd, self._path)

    def oom_kills(self) -> int:
        tree = self._host.by_controller.get("memory")
        if tree is None:
            return 0
        # Version 1 counts for each group alone.
        tables = (files.read_table(fd, "memory.oom_control") for fd in self._below(tree))
        return sum(table.get("oom_kill", 0) for table in tables)

    def _below(self, tree: Tree) -> Iterator[int]:
        with contextlib.suppress(FileNotFoundError):
            yield from files.walk(tree.fd, self._path)

    def remove(self) -> None:
        left = list(self._host.trees)

        def removed() -> bool:
            left[:] = [tree for tree in left if not files.try_remove(tree.fd, self._path)]
            return not left

        if not files.wait_until(removed, _END_TIMEOUT_S):
            raise Unavailable(f"control group {self.path} ({left[0].label}) still has processes")


def _inherit_cpuset(tree: Tree, path: str) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        _filled(tree.fd, path, file)


def _filled(root: int, path: str, file: str) -> str:
    """The group's own value; where it has none, that of the next group above that has one.

    Groups between may be empty because who made them, in parallel, has not filled them yet. All
    fill them alike, so that it does not matter who is first.
    """
    value = files.read(root, f"{path}/{file}").strip()
    if value or path == ".":
        return value
    value = _filled(root, path.rpartition("/")[0] or ".", file)
    files.write(root, f"{path}/{file}", value)
    return value


def _device_batches(rules: Sequence[LinuxDeviceCgroup]) -> list[tuple[bool, list[str]]]:
    """The commands in order, neighbours to the same file together."""
    batches: list[tuple[bool, list[str]]] = []
    for rule in rules:
        check_rule(rule)
        if not batches or batches[-1][0] != rule.allow:
            batches.append((rule.allow, []))
        batches[-1][1].extend(legacy_commands(rule))
    return batches


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
        return created(lambda: LegacyCgroup(self._host, path), resources, first)

    def open(self, path: str) -> Cgroup:
        group = LegacyCgroup(self._host, path)
        if not any(trees.exists(tree, trees.relative(path)) for tree in self._host.trees):
            raise NotFound(f"no control group {path}")
        return group

    def remove_if_empty(self, path: str) -> None:
        for tree in self._host.trees:
            trees.remove_if_empty(tree, trees.relative(path))
