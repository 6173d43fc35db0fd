"""Files that are there completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from uuid import uuid4

Bytes = bytes | bytearray | memoryview

_OPEN = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_atomic(
    path: str, data: Bytes, mode: int = 0o644, *, dir_fd: int | None = None, sync: bool = False
) -> None:
    """Replace the content of ``path`` (below ``dir_fd`` if given) in one step: write, rename.

    ``mode`` is set regardless of the umask. With ``sync`` the content and the name survive a
    loss of power (fsync(2)). OSError names the path; nothing is left after it.
    """
    temporary = f"{path}.{uuid4().hex[:12]}.tmp"
    fd = os.open(temporary, _OPEN, mode, dir_fd=dir_fd)
    try:
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        os.unlink(temporary, dir_fd=dir_fd)
        raise
    if sync:
        sync_directory(os.path.dirname(path) or ".", dir_fd=dir_fd)


def write_all(fd: int, data: Bytes) -> None:
    """write(2) until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_all_of(fd: int, chunks: Iterable[Bytes]) -> int:
    """Write chunk after chunk; how many bytes there were."""
    total = 0
    for chunk in chunks:
        write_all(fd, chunk)
        total += len(chunk)
    return total


def sync_directory(path: str, *, dir_fd: int | None = None) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
