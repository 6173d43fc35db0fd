"""Futures for those who wait until a container ends or is removed."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Literal, get_args

from wherry.engine.records import WaitResult

Condition = Literal["not-running", "next-exit", "removed"]


class Waiters:
    """The waiting clients of one container."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: dict[Condition, list[Future[WaitResult]]] = {
            condition: [] for condition in get_args(Condition)
        }

    def add(self, condition: Condition) -> Future[WaitResult]:
        """A future that the next event of this kind completes. It may be cancelled."""
        future: Future[WaitResult] = Future()
        with self._lock:
            waiting = self._futures[condition]
            waiting[:] = [other for other in waiting if not other.cancelled()]
            waiting.append(future)
        return future

    def exited(self, result: WaitResult) -> None:
        """The process ended. As with Docker that is enough for who waits for "not running", even
        if the container is to be restarted."""
        self._complete(result, "next-exit", "not-running")

    def removed(self, result: WaitResult) -> None:
        """The end of everything: those who wait for an exit get it as well."""
        self._complete(result, *self._futures)

    def _complete(self, result: WaitResult, *conditions: Condition) -> None:
        with self._lock:
            done = [future for c in conditions for future in self._futures[c]]
            for condition in conditions:
                self._futures[condition] = []
        for future in done:
            if future.set_running_or_notify_cancel():
                future.set_result(result)


def settled(result: WaitResult) -> Future[WaitResult]:
    """A future that is done already."""
    future: Future[WaitResult] = Future()
    future.set_result(result)
    return future
