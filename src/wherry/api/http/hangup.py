"""Telling a client that is gone from one that has only finished sending.

Both look the same to ``recv``. On a Unix socket poll(2) knows: POLLHUP is set when the peer has
closed (or shut down both directions), POLLRDHUP alone when it has shut down its writing side.
On TCP there is no such knowledge before something is sent.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable


def hung_up(transport: asyncio.BaseTransport) -> bool:
    """The peer is known to be gone, now."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # POLLHUP and POLLERR are always told
    return bool(poll.poll(0))


class HangupWatch:
    """Calls back when a socket whose input has ended is closed by its peer altogether.

    An event loop only waits for sockets to become readable, which such a socket always is. So all
    of them are in an epoll set of their own, asked for nothing but hang-ups, and the loop waits
    for the set.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._epoll.fileno(), self._ready)
        self._callbacks[fd] = callback
        self._epoll.register(fd, 0)

    def remove(self, fd: int) -> None:
        """Before ``fd`` is closed. Idempotent."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0):
            callback = self._callbacks.get(fd)
            self.remove(fd)
            if callback is not None:
                callback()

    def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._loop = None
        self._callbacks.clear()
        self._epoll.close()
