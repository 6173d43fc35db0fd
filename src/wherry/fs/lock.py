"""A lock on a file that ends with the process that holds it (flock(2))."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from wherry.errors import Conflict

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class FileLock:
    """An exclusive lock, taken when the object is made and held until :meth:`release`."""

    def __init__(self, path: str, *, what: str) -> None:
        """Conflict, at once, if another process has it; ``what`` is the subject of its sentence:
        ``FileLock(path, what="the data root /var/lib/wherry")``."""
        self._fd = os.open(path, _OPEN, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(
                f"{what} is in use by another engine (process {holder}): stop that one, or "
                "choose another directory"
            ) from None
        except BaseException:
            os.close(self._fd)
            raise

    def release(self) -> None:
        """Give the lock back; the file stays. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.release()
