"""Reading, writing and removing control groups relative to the descriptor of their tree.

Paths are relative to the tree's root. A group that a container was given to manage may hold
groups of any depth, so that walking never recurses and holds one descriptor at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator

_READ_SIZE = 65536
_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.02


def read(root: int, path: str) -> str:
    """The whole content of a file; OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        data = os.read(fd, _READ_SIZE)
        while more := os.read(fd, _READ_SIZE):  # a page at a time, whatever the size asked for
            data += more
    finally:
        os.close(fd)
    return data.decode("ascii", "replace")


def write(root: int, path: str, value: str) -> None:
    """Write a file in one piece, as the kernel wants it; OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def write_lines(root: int, path: str, lines: list[str]) -> None:
    """Write several values to one file, each as a command of its own."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=root)
    try:
        for line in lines:
            os.write(fd, line.encode())
    finally:
        os.close(fd)


def read_number(root: int, path: str) -> int:
    """A file that holds one number; 0 for ``max`` and for a file that this kernel lacks."""
    try:
        text = read(root, path).strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.lstrip("-").isdigit() else 0


def read_table(root: int, path: str) -> dict[str, int]:
    """A file of lines ``key number``; empty for a file that this kernel lacks."""
    try:
        return parse_table(read(root, path))
    except FileNotFoundError:
        return {}


def parse_table(text: str) -> dict[str, int]:
    """Lines ``key number``; others are left out."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if " " in line)
    return {key: int(value) for key, value in pairs if value.lstrip("-").isdigit()}


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again with growing pauses until ``condition`` holds; False after ``timeout_s``.

    For what the kernel has no notification of: the end of a dying process, and the freezer of
    version 1.
    """
    deadline = time.monotonic() + timeout_s
    pause = _FIRST_PAUSE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)
    return True


def walk(root: int, path: str) -> Iterator[int]:
    """A descriptor of the group and of each one below, children first, valid for one step.

    The group above a descriptor that was yielded is read again after the step, so that a step may
    remove what it was given.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    pending = [_children(fd)]
    try:
        while pending:
            if pending[-1]:
                child = _enter(fd, pending[-1].pop())
                if child is not None:
                    os.close(fd)
                    fd = child
                    pending.append(_children(fd))
                continue
            yield fd
            pending.pop()
            if pending:
                above = _enter(fd, "..")
                if above is None:
                    return
                os.close(fd)
                fd = above
    finally:
        os.close(fd)


def _enter(fd: int, name: str) -> int | None:
    """Open a neighbour of a group; None if it has gone meanwhile."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _children(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def processes(root: int, path: str) -> set[int]:
    """The processes of a group and of those below it; empty if there is no such group.

    A process that this process's PID namespace does not show is listed as 0 and left out.
    """
    found: set[int] = set()
    with contextlib.suppress(FileNotFoundError):
        for fd in walk(root, path):
            found.update(_processes_of(fd))
    found.discard(0)
    return found


def _processes_of(fd: int) -> set[int]:
    try:
        return {int(line) for line in read(fd, "cgroup.procs").split()}
    except OSError as error:
        # A group removed meanwhile, and a threaded one, whose processes its domain lists.
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return set()
        raise


def try_remove(root: int, path: str) -> bool:
    """Remove a group with all below it; False if one of them still has processes."""
    try:
        os.rmdir(path, dir_fd=root)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    else:
        return True
    return _remove_below(root, path) and _rmdir(root, path)


def _remove_below(root: int, path: str) -> bool:
    """Remove all groups below one, deepest first; False if there is one that cannot go yet."""
    clean = True
    with contextlib.suppress(FileNotFoundError):
        for fd in walk(root, path):
            for name in _children(fd):
                clean = _rmdir(fd, name) and clean
    return clean


def _rmdir(root: int, path: str) -> bool:
    try:
        os.rmdir(path, dir_fd=root)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True
