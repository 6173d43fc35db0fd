"""The loop of a process that waits for many descriptors: one epoll(7), one handler for each."""

from __future__ import annotations

import select
from collections.abc import Callable

Handler = Callable[[int], None]


class Loop:
    """Calls handlers with their descriptor. One that was closed must be forgotten first: a copy of
    it in another process, or in a thread that has its own descriptors, would keep it registered.

    A handler may be called although there is nothing to do, when its descriptor has the number of
    one that was closed in the same turn.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler`` when one of ``events`` comes; another one takes its place."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Watch no more; nothing happens if it was not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def handler(self, fd: int) -> Handler | None:
        """The one that is called for a descriptor."""
        return self._handlers.get(fd)

    def turn(self, seconds: float = -1) -> None:
        """Wait, at most so long unless that is negative, and call the handlers of what came."""
        for fd, _ in self._epoll.poll(seconds):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler(fd)
