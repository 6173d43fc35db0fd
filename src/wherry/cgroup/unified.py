"""Groups of version 2."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from wherry.cgroup import files, limits_v2, trees
from wherry.cgroup.creation import created
from wherry.cgroup.devices import check_rule, device_program
from wherry.cgroup.mounts import Layout
from wherry.cgroup.settings import Step
from wherry.cgroup.trees import Tree
from wherry.errors import InternalError, InvalidArgument, NotFound, NotSupported, Unavailable
from wherry.model.runtime_spec import LinuxDeviceCgroup, LinuxMemory, LinuxResources

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroup, Stats

_FREEZE_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 10.0
# Files that every group has, whichever controllers are enabled.
_CORE = frozenset({"cgroup"})


class UnifiedCgroup:
    """A group in the one tree of version 2."""

    def __init__(self, tree: Tree, path: str) -> None:
        self._tree = tree
        self._path = trees.relative(path)

    @property
    def path(self) -> str:
        return "/" + self._path

    def directory_fd(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        return os.open(self._path, flags, dir_fd=self._tree.fd)

    def make(self, resources: LinuxResources) -> None:
        """Make the directory and set the limits; the caller removes what an error leaves."""
        steps = limits_v2.plan(resources)
        try:
            trees.make_directory(self._tree, self._path)
        except FileNotFoundError:
            self._make_parents()
            trees.make_directory(self._tree, self._path)
        self._enable_for(steps)
        self._apply(steps)
        self._apply_devices(resources.devices)

    def _ancestors(self) -> list[str]:
        parts = self._path.split("/")
        return [".", *("/".join(parts[:depth]) for depth in range(1, len(parts)))]

    def _make_parents(self) -> None:
        for parent in self._ancestors():
            with contextlib.suppress(FileExistsError):
                trees.make_directory(self._tree, parent)
            _enable(self._tree, parent, self._controllers(parent))

    def _controllers(self, path: str) -> frozenset[str]:
        return frozenset(files.read(self._tree.fd, f"{path}/cgroup.controllers").split())

    def _enable_for(self, steps: Iterable[Step]) -> None:
        """Pass the controllers that the steps need down the path, if they are not there yet."""
        needed = {setting.controller for step in steps for setting in step} - _CORE
        missing = needed - self._controllers(self._path) if needed else needed
        if missing:
            for parent in self._ancestors():
                _enable(self._tree, parent, missing & self._controllers(parent))

    def _apply(self, steps: Iterable[Step]) -> None:
        steps = tuple(steps)
        present = self._controllers(self._path) if steps else frozenset()
        trees.apply(steps, dict.fromkeys(present, self._tree), self._path)

    def _apply_devices(self, rules: Sequence[LinuxDeviceCgroup]) -> None:
        if not rules:
            return
        for rule in rules:
            check_rule(rule)
        with contextlib.ExitStack() as stack:
            directory = self.directory_fd()
            stack.callback(os.close, directory)
            try:
                _replace_device_program(directory, device_program(rules))
            except OSError as error:
                kind = NotSupported if error.errno in _NO_PROGRAMS else InternalError
                raise kind(
                    f"cannot restrict devices of control group {self.path} with a BPF program: "
                    f"{error.strerror}"
                ) from error

    def add(self, pid: int) -> None:
        trees.join(self._tree, self._path, pid)

    def update(self, resources: LinuxResources) -> None:
        if resources.memory is not None:
            memory = self._with_limit(resources.memory)
            self._refuse_below_use(memory)
            resources = msgspec.structs.replace(resources, memory=memory)
        steps = limits_v2.plan(resources)
        self._enable_for(steps)
        self._apply(steps)
        self._apply_devices(resources.devices)

    def _with_limit(self, memory: LinuxMemory) -> LinuxMemory:
        """With the present limit on memory, which tells how much of a new one on memory and swap
        together is for swap."""
        if not memory.swap or memory.swap == -1 or memory.limit:
            return memory
        present = files.read_number(self._tree.fd, f"{self._path}/memory.max")
        return msgspec.structs.replace(memory, limit=present or None)

    def _refuse_below_use(self, memory: LinuxMemory) -> None:
        """The kernel of version 2 would kill where that of version 1 refuses (config-linux.md,
        section "Memory", ``checkBeforeUpdate``)."""
        if not memory.check_before_update:
            return
        used = files.read_number(self._tree.fd, f"{self._path}/memory.current")
        for what, limit in (("memory and swap", memory.swap), ("memory", memory.limit)):
            if limit and 0 < limit <= used:
                raise InvalidArgument(
                    f"cannot set the limit on {what} of control group {self.path} to {limit}: "
                    f"{used} bytes are in use"
                )

    def freeze(self) -> None:
        files.write(self._tree.fd, f"{self._path}/cgroup.freeze", "1")
        if not self._wait_for_event("frozen", 1, _FREEZE_TIMEOUT_S):
            self.thaw()
            raise Unavailable(f"control group {self.path} could not be frozen")

    def thaw(self) -> None:
        files.write(self._tree.fd, f"{self._path}/cgroup.freeze", "0")

    def frozen(self) -> bool:
        return files.read(self._tree.fd, f"{self._path}/cgroup.freeze").strip() == "1"

    def _wait_for_event(self, key: str, value: int, timeout_s: float) -> bool:
        """Wait until a line of ``cgroup.events`` has a value; its changes wake a poll."""
        fd = os.open(f"{self._path}/cgroup.events", os.O_RDONLY, dir_fd=self._tree.fd)
        try:
            return _wait_for_line(fd, f"{key} {value}", timeout_s)
        finally:
            os.close(fd)

    def pids(self) -> tuple[int, ...]:
        return tuple(sorted(files.processes(self._tree.fd, self._path)))

    def kill(self) -> None:
        if not self.pids():
            return
        try:
            files.write(self._tree.fd, f"{self._path}/cgroup.kill", "1")
        except FileNotFoundError:  # before Linux 5.14
            self._kill_each()
        if not self._wait_for_event("populated", 0, _END_TIMEOUT_S):
            raise Unavailable(f"control group {self.path} still has processes after SIGKILL")

    def _kill_each(self) -> None:
        def killed() -> bool:
            pids = self.pids()
            trees.signal_all(pids, signal.SIGKILL)
            return not pids

        files.wait_until(killed, _END_TIMEOUT_S)

    def stats(self) -> Stats:
        from wherry.cgroup import stats_v2  # most processes ask for none

        return stats_v2.stats(self._tree.fd, self._path)

    def oom_kills(self) -> int:
        return files.read_table(self._tree.fd, f"{self._path}/memory.events").get("oom_kill", 0)

    def remove(self) -> None:
        if self._is_delegated():
            return
        if files.try_remove(self._tree.fd, self._path):
            return
        with contextlib.suppress(FileNotFoundError):
            self._wait_for_event("populated", 0, _END_TIMEOUT_S)
        # The kernel tells that a group is empty a moment before it can be removed.
        if not files.wait_until(self._try_remove, 1.0):
            raise Unavailable(f"control group {self.path} still has processes")

    def _is_delegated(self) -> bool:
        """Whether it is a unit of systemd, which waits for its end and would not hear of it if the
        group vanished at the same moment (systemd, "Control Group APIs and Delegation")."""
        try:
            directory = self.directory_fd()
        except FileNotFoundError:
            return False
        try:
            return os.getxattr(directory, "trusted.delegate") == b"1"
        except OSError:
            return False
        finally:
            os.close(directory)

    def _try_remove(self) -> bool:
        return files.try_remove(self._tree.fd, self._path)


_NO_PROGRAMS = (errno.ENOSYS, errno.EINVAL, errno.EPERM)


def _enable(tree: Tree, path: str, controllers: Iterable[str]) -> None:
    """Let the groups below ``path`` use controllers. One that cannot be enabled stays off: it is
    missed, and named, when a limit needs it."""
    wanted = sorted(controllers)
    if not wanted:
        return
    file = f"{path}/cgroup.subtree_control"
    try:
        files.write(tree.fd, file, " ".join(f"+{name}" for name in wanted))
    except OSError:
        for name in wanted:
            with contextlib.suppress(OSError):
                files.write(tree.fd, file, f"+{name}")


def _wait_for_line(fd: int, line: str, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    while True:
        if line in os.pread(fd, 4096, 0).decode().splitlines():
            return True
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        poll.poll(left * 1000)


def _replace_device_program(directory: int, instructions: bytes) -> None:
    """Attach a filter in place of the one that was attached before, if there is one."""
    from wherry.sys import bpf  # ctypes is not for those who only have version 1

    with contextlib.ExitStack() as stack:
        program = bpf.load_device_program(instructions)
        stack.callback(os.close, program)
        attached = bpf.device_programs(directory)
        replaced = None
        if len(attached) == 1:
            replaced = bpf.open_program(attached[0])
            stack.callback(os.close, replaced)
        bpf.attach_device_program(directory, program, replaced)


class UnifiedCgroups:
    """Version 2 alone."""

    def __init__(self, layout: Layout) -> None:
        assert layout.unified is not None
        self._tree = trees.open_tree(layout.unified)

    @property
    def mode(self) -> str:
        return "unified"

    def create(self, path: str, resources: LinuxResources, first: int = 0) -> Cgroup:
        return created(lambda: UnifiedCgroup(self._tree, path), resources, first)

    def open(self, path: str) -> Cgroup:
        if not trees.exists(self._tree, trees.relative(path)):
            raise NotFound(f"no control group {path}")
        return UnifiedCgroup(self._tree, path)

    def remove_if_empty(self, path: str) -> None:
        trees.remove_if_empty(self._tree, trees.relative(path))
