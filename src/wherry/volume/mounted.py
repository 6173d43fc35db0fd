"""File systems that are mounted for the users of a volume: with the first, until the last.

They are mounted where the volume's directory is, in the engine's own mount namespace, so that all
users have one and the same, and so that it outlives the engine (docs/decisions/0060-volumes.md).
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress

from wherry.errors import InvalidArgument, NotSupported, WherryError
from wherry.sys import mount as m
from wherry.volume.options import LocalOptions

_NETWORK = ("nfs", "nfs4", "cifs", "smb3")


class MountedVolumes:
    """Who uses which mounted volume. Safe to call from several threads; a mount that takes long
    keeps only those waiting who want the same one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._users: dict[str, set[str]] = {}

    def attach(self, path: str, options: LocalOptions, user: str) -> None:
        """Have it mounted on ``path`` for one user more. Idempotent."""
        with self._lock_of(path):
            if not os.path.ismount(path):
                mount_filesystem(path, options)
            with self._lock:
                self._users.setdefault(path, set()).add(user)

    def detach(self, user: str) -> None:
        """Forget a user; unmount what has no other. Idempotent."""
        with self._lock:
            paths = [path for path, users in self._users.items() if user in users]
        for path in paths:
            with self._lock_of(path):
                if self._forget(path, user):
                    unmount(path)

    def _forget(self, path: str, user: str) -> bool:
        """Whether that was the last."""
        with self._lock:
            users = self._users.get(path, set())
            users.discard(user)
            if users:
                return False
            return self._users.pop(path, None) is not None

    def take_up(self, users: Mapping[str, Iterable[str]]) -> None:
        """What an earlier engine mounted: by path, who goes on using it. Nobody: unmount it."""
        for path, names in users.items():
            remaining = set(names)
            if remaining:
                self._users[path] = remaining
            else:
                unmount(path)

    def _lock_of(self, path: str) -> threading.Lock:
        with self._lock:
            return self._locks[path]


def unmount(path: str) -> None:
    """Take away all that is mounted on a directory; what has it open keeps it to its end."""
    while os.path.ismount(path):
        m.umount2(path, m.MNT_DETACH | m.UMOUNT_NOFOLLOW)


def mount_filesystem(path: str, options: LocalOptions) -> None:
    """mount(2) with an error that names what is wrong."""
    data = _with_address(options)
    try:
        m.mount(options.device, path, options.fstype, options.flags, data)
    except OSError as error:
        raise _sentence(options, error) from error


def _with_address(options: LocalOptions) -> str:
    """The kernel wants a number as the address of a network file system's server."""
    if options.fstype not in _NETWORK:
        return options.data
    return ",".join(
        f"addr={_address(word[5:])}" if word.startswith("addr=") else word
        for word in options.data.split(",")
    )


def _address(host: str) -> str:
    with suppress(OSError):
        return str(socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0][4][0])
    raise InvalidArgument(f"failed to mount local volume: the server {host!r} cannot be found")


def _sentence(options: LocalOptions, error: OSError) -> WherryError:
    what = f"failed to mount local volume: {options.device} as {options.fstype}"
    if error.errno == errno.ENODEV:
        return NotSupported(f"{what}: this kernel has no file system {options.fstype!r}")
    if error.errno == errno.ENOTBLK:
        return InvalidArgument(
            f"{what}: that is no block device; attach a file to one with losetup(8)"
        )
    if error.errno == errno.ENOENT:
        return InvalidArgument(f"{what}: no such file or directory")
    if error.errno == errno.EINVAL:
        return InvalidArgument(
            f"{what}: the kernel refuses it with the options {options.data or 'given'!r}"
        )
    return InvalidArgument(f"{what}: {os.strerror(error.errno or 0).lower()}")
