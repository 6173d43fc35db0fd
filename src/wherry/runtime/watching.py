"""Connections to processes, and who takes what comes from them."""

from __future__ import annotations

import select
import threading
from typing import Protocol


class Watched(Protocol):
    """A connection of which somebody takes what comes."""

    def fileno(self) -> int: ...
    def readable(self) -> bool:
        """Take one message; False at the end."""
        ...

    def disconnect(self) -> None: ...


class Watching:
    """Some of them, in an epoll(7) set that can itself be waited for. Added and forgotten by any
    thread, taken from by one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, watched: Watched) -> None:
        """Take from this one, too."""
        with self._lock:
            self._watched[watched.fileno()] = watched
            self._epoll.register(watched.fileno(), select.EPOLLIN)

    def replace(self, watched: Watched) -> None:
        """What comes on a connection belongs to another one from now on."""
        with self._lock:
            self._watched[watched.fileno()] = watched

    def forget(self, watched: Watched) -> None:
        """Disconnect it, if it is one of these."""
        with self._lock:
            fd = watched.fileno()
            if fd < 0 or self._watched.get(fd) is not watched:
                return
            del self._watched[fd]
            self._epoll.unregister(fd)
        watched.disconnect()

    def take(self) -> None:
        """Take what has come; waits for nothing."""
        for fd, _ in self._epoll.poll(0):
            with self._lock:
                watched = self._watched.get(fd)
            if watched is not None and not watched.readable():
                self.forget(watched)

    def close(self) -> None:
        """Disconnect all."""
        for watched in list(self._watched.values()):
            self.forget(watched)
        self._epoll.close()
