"""What an operation is, and what it works on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

import msgspec

from wherry.errors import InternalError, WherryError
from wherry.sys.files import (
    PROC_SUPER_MAGIC,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_XDEV,
    filesystem_type,
    openat2,
)

_WITHIN_PROC = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS


class SetupFailed(InternalError):
    """An operation of a container's set-up failed."""


class Prepared:
    """Descriptors that a parent has made for its child: detached mounts by their operation, and the
    connection to a seccomp agent."""

    def __init__(self) -> None:
        self.trees: dict[Op, int] = {}
        self.listener: int | None = None

    def close(self) -> None:
        for fd in (*self.trees.values(), *(() if self.listener is None else (self.listener,))):
            os.close(fd)


class Setup:
    """The state of one set-up, shared by its operations.

    It belongs to a process that either becomes the program or exits; all descriptors are
    close-on-exec.
    """

    def __init__(
        self,
        channel: socket.socket | None,
        stdio: tuple[int, int, int] | None = None,
        netns_fd: int | None = None,
        pidfd: int | None = None,
        start_fd: int | None = None,
        prepared: Prepared | None = None,
    ) -> None:
        self._channel = channel
        self.stdio = stdio
        self.netns_fd = netns_fd
        self.pidfd = pidfd  # of the container that is joined
        self.start_fd = start_fd  # a fifo that the start of a created container is written to
        self.prepared = prepared or Prepared()
        self.host_pid = int(os.readlink("/proc/self"))
        self.proc_fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.root_fd = -1  # the container's root, from MountRoot on
        self.console_fd: int | None = None
        self.directories: dict[str, int] = {}  # of the container, see devices.py
        self.created: list[str] = []
        self.program = ""
        self.in_directory = False  # the working directory
        self.env: list[bytes] = []
        self.spawned = 0  # the program's process, if it is another than this one

    @property
    def channel(self) -> socket.socket:
        """To the parent, if it is another process."""
        if self._channel is None:
            raise OSError(errno.EBADF, "there is no parent to talk to")
        return self._channel

    def proc(self, path: str) -> str:
        """A name for a file of the host's procfs; valid whatever is mounted on /proc."""
        return f"/proc/self/fd/{self.proc_fd}/{path}"

    def write_proc(self, path: str, data: str) -> None:
        """Write to a file of the host's procfs; EXDEV if something else is in its place.

        A label that went to another file would not be set, and nobody would notice
        (CVE-2019-16884, CVE-2025-52881).
        """
        fd = openat2(self.proc_fd, path, os.O_WRONLY, resolve=_WITHIN_PROC)
        try:
            if filesystem_type(fd) != PROC_SUPER_MAGIC:
                raise OSError(errno.EXDEV, f"{path} is not on a procfs")
            os.write(fd, data.encode())
        finally:
            os.close(fd)

    def has_proc(self, path: str) -> bool:
        """Whether the host's procfs has a file."""
        return os.access(path, os.F_OK, dir_fd=self.proc_fd)

    def read_proc(self, path: str) -> str:
        """Read a small file of the host's procfs."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc_fd)
        try:
            return os.read(fd, 65536).decode(errors="replace")
        finally:
            os.close(fd)


class Op(msgspec.Struct, frozen=True):
    """One step. ``describe`` completes the sentence "cannot ..."."""

    def describe(self) -> str:
        raise NotImplementedError

    def execute(self, setup: Setup) -> None:
        """OSError and WherryError tell of a failure."""
        raise NotImplementedError


class DetachedOp(Op, frozen=True):
    """One that mounts what its parent, with more power, can have made for it."""

    def detached(self) -> int:
        """A descriptor of the mount, which nobody sees yet. OSError."""
        raise NotImplementedError


def reason(error: OSError) -> str:
    """What an OSError says, without its number."""
    text = error.strerror or str(error)
    text = text[:1].lower() + text[1:]
    return f"{text} ({error.filename})" if error.filename else text


def run(ops: Iterable[Op], setup: Setup) -> None:
    """Execute operations in order. SetupFailed names the one that failed."""
    for op in ops:
        try:
            op.execute(setup)
        except WherryError:
            raise
        except OSError as error:
            raise SetupFailed(f"cannot {op.describe()}: {reason(error)}") from error
