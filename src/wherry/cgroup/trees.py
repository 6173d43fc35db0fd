"""The trees of a host, open, and what both versions do with them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from typing import NoReturn

import msgspec

from wherry.cgroup import files
from wherry.cgroup.mounts import Hierarchy
from wherry.cgroup.settings import Setting, Step
from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    ResourceExhausted,
)

_REFUSED = (errno.EINVAL, errno.ERANGE, errno.EOVERFLOW, errno.ENODEV, errno.EACCES)
_RETRY_REVERSED = (errno.EINVAL, errno.EBUSY)


class Tree(msgspec.Struct, frozen=True):
    """A mounted hierarchy and the descriptor of its root."""

    hierarchy: Hierarchy
    fd: int

    @property
    def label(self) -> str:
        """How messages call it: its controllers, or its name."""
        names = sorted(self.hierarchy.controllers) or [self.hierarchy.name or "unified"]
        return ",".join(names)


def open_tree(hierarchy: Hierarchy) -> Tree:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return Tree(hierarchy, os.open(hierarchy.mountpoint, flags))


def relative(path: str) -> str:
    """A group's path for use with a tree's descriptor; InvalidArgument if it leaves the tree."""
    parts = path.split("/")
    if not path.startswith("/") or len(parts) < 2 or not all(parts[1:]):
        raise InvalidArgument(f"invalid path of a control group {path!r}: it must be like /a/b")
    if {".", ".."} & set(parts) or min(path) < " ":
        raise InvalidArgument(f"invalid path of a control group {path!r}")
    return path[1:]


def remove_if_empty(tree: Tree, path: str) -> None:
    """rmdir(2), which the kernel refuses for a group that has processes or groups in it."""
    try:
        os.rmdir(path, dir_fd=tree.fd)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
            raise


def apply(steps: Iterable[Step], find: dict[str, Tree], path: str) -> None:
    """Write all settings of a group; NotSupported names a controller that is missing."""
    for step in steps:
        _apply_step(step, find, path)


def _apply_step(step: Step, find: dict[str, Tree], path: str) -> None:
    try:
        _write(step[0], find, path)
    except OSError as error:
        if len(step) == 1 or error.errno not in _RETRY_REVERSED:
            _refuse(step[0], path, error)
        for setting in reversed(step):
            _write_or_refuse(setting, find, path)
        return
    for setting in step[1:]:
        _write_or_refuse(setting, find, path)


def _write_or_refuse(setting: Setting, find: dict[str, Tree], path: str) -> None:
    try:
        _write(setting, find, path)
    except OSError as error:
        _refuse(setting, path, error)


def _write(setting: Setting, find: dict[str, Tree], path: str) -> None:
    tree = find.get(setting.controller)
    if tree is None:
        raise NotSupported(
            f"cannot set {setting.file}: the {setting.controller} controller of control groups "
            "is not available on this host"
        )
    try:
        files.write(tree.fd, f"{path}/{setting.file}", setting.value)
    except FileNotFoundError:
        if setting.instead is not None:
            _write(setting.instead, find, path)
        elif not setting.optional:
            raise


def _refuse(setting: Setting, path: str, error: OSError) -> NoReturn:
    what = f"cannot set {setting.file} of control group /{path} to {setting.value!r}"
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
        raise NotSupported(f"{what}: this kernel lacks it") from error
    if error.errno == errno.EBUSY:
        raise Conflict(f"{what}: more than that is in use") from error
    if error.errno in _REFUSED:
        raise InvalidArgument(f"{what}: {os.strerror(error.errno)}") from error
    raise InternalError(f"{what}: {error.strerror}") from error


def make_directory(tree: Tree, path: str) -> None:
    """Make a group's directory; FileExistsError and FileNotFoundError are the caller's."""
    try:
        os.mkdir(path, 0o755, dir_fd=tree.fd)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as error:
        kind = ResourceExhausted if error.errno in (errno.ENOSPC, errno.EAGAIN) else InternalError
        raise kind(f"cannot make control group /{path} ({tree.label}): {error.strerror}") from error


def exists(tree: Tree, path: str) -> bool:
    try:
        os.stat(path, dir_fd=tree.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def open_group(tree: Tree, path: str) -> int:
    """The group's directory, which the caller closes; NotFound."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=tree.fd)
    except FileNotFoundError:
        raise NotFound(f"no control group /{path} ({tree.label})") from None


def join(tree: Tree, path: str, pid: int) -> None:
    """Move a process; Conflict if it has ended, InternalError if the kernel refuses."""
    try:
        files.write(tree.fd, f"{path}/cgroup.procs", str(pid))
    except OSError as error:
        if error.errno == errno.ESRCH:
            raise Conflict(f"process {pid} has ended") from error
        raise InternalError(
            f"cannot move process {pid} to control group /{path} ({tree.label}): {error.strerror}"
        ) from error


def signal_all(pids: Iterable[int], signum: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
