"""One engine for each data root: locks and the pid file.

The locks are POSIX record locks (fcntl(2)): they belong to this process alone, so that launcher
and monitors, which outlive it, never hold them.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.errors import Conflict, InvalidArgument


@contextmanager
def locked_root(path: str, what: str) -> Iterator[None]:
    """Own a root directory, which is made if it is missing; Conflict if another engine does."""
    try:
        os.makedirs(path, mode=0o711, exist_ok=True)
        fd = os.open(
            os.path.join(path, "daemon.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise InvalidArgument(f"the {what} {path} cannot be used: {error.strerror}") from None
    try:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"another engine{_holder(fd)} uses the {what} {path}: stop it or choose another one"
            ) from None
        os.truncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def _holder(fd: int) -> str:
    text = os.pread(fd, 32, 0).decode(errors="replace").strip()
    return f" (process {text})" if text.isdigit() else ""


@contextmanager
def pid_file(path: str) -> Iterator[None]:
    """Keep this process's id in a file; Conflict if the file names a process that lives."""
    if not path:
        yield
        return
    other = _living(path)
    if other:
        raise Conflict(f"the pid file {path} names process {other}, which runs: stop it first")
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        raise InvalidArgument(f"the pid file {path} cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def _living(path: str) -> int:
    try:
        with open(path) as file:
            pid = int(file.read(32).strip() or 0)
    except (OSError, ValueError):
        return 0
    return pid if pid > 0 and pid != os.getpid() and os.path.exists(f"/proc/{pid}") else 0
