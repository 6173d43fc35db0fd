"""Kills for lack of memory in a control group that is gone when its first process has ended.

Of a group of ours the count is read at the end of the container. systemd removes the group of a
scope as soon as it is empty, before anybody else can look. Of a scope, therefore, the starter opens
the file with the count before the program runs, and the monitor reads it whenever the kernel
announces a change, which it does before the process that it kills has ended (cgroup-v2.rst,
``memory.events``).
"""

from __future__ import annotations

import os
import select

from wherry.cgroup.api import Cgroup
from wherry.cgroup.files import parse_table

_ANNOUNCED = select.EPOLLPRI | select.EPOLLET
_ROOM = 4096


def follow_kills(group: Cgroup) -> list[int]:
    """Descriptors of an epoll that is readable when the count may have changed, and of the file
    that it watches; none where there is no such file (version 1, no controller for memory)."""
    directory = group.directory_fd()
    if directory is None:
        return []
    try:
        file = os.open("memory.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return []
    finally:
        os.close(directory)
    os.pread(file, _ROOM, 0)  # what was never read counts as changed
    epoll = select.epoll()
    epoll.register(file, _ANNOUNCED)
    fd = os.dup(epoll.fileno())
    epoll.close()
    return [fd, file]


class MemoryKills:
    """Follows what :func:`follow_kills` has opened; without descriptors it sees none."""

    def __init__(self, fds: list[int]) -> None:
        self._changes = select.epoll.fromfd(fds[0]) if fds else None
        self._file = fds[1] if fds else -1
        self.seen = False

    @property
    def watched(self) -> int | None:
        """A descriptor that :meth:`look` is to be called for when it is readable."""
        return None if self._changes is None else self._changes.fileno()

    def look(self, _: int = -1) -> None:
        """Note in ``seen`` whether there was a kill; after the end of the group none is found."""
        if self._changes is not None:
            self._changes.poll(0)
            self.seen = self.seen or self._count() > 0

    def _count(self) -> int:
        try:
            text = os.pread(self._file, _ROOM, 0).decode("ascii", "replace")
        except OSError:  # ENODEV
            return 0
        return parse_table(text).get("oom_kill", 0)

    def close(self) -> None:
        """Let go of the descriptors."""
        if self._changes is not None:
            self._changes.close()
            os.close(self._file)
            self._changes = None
