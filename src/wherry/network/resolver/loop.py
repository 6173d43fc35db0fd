"""One thread that waits for sockets and for times."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Protocol

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Timer:
    """Something to do later, unless it is cancelled."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def cancel(self) -> None:
        self._action = None

    def fire(self) -> None:
        action, self._action = self._action, None
        if action:
            action()


class Loop:
    """Calls back; not safe for several threads."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._stopped = False

    def watch(self, what: HasFileno | int, events: int, ready: Callable[[int], None]) -> None:
        """Call ``ready`` with the events whenever there are any; replaces an earlier watch."""
        try:
            self._selector.modify(what, events, ready)
        except KeyError:
            self._selector.register(what, events, ready)

    def unwatch(self, what: HasFileno | int) -> None:
        """Before it is closed. Fine if it is not watched."""
        try:
            self._selector.unregister(what)
        except (KeyError, ValueError):
            pass

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        timer = Timer(action)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), timer))
        return timer

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Until :meth:`stop`."""
        while not self._stopped:
            for key, events in self._selector.select(self._patience()):
                # What an earlier callback of this round closed is watched no more.
                if self._selector.get_map().get(key.fd) is key:
                    key.data(events)
            self._fire()
        self._selector.close()

    def _patience(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, self._timers[0][0] - time.monotonic())

    def _fire(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()
