"""Background threads, for what must not block the runtime's own thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

_LOG = logging.getLogger(__name__)


class Workers:
    """A few threads that run what they are given, in order of arrival.

    An error in one task is logged and ends nothing else.
    """

    def __init__(self, count: int, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[], None]) -> None:
        self._queue.put(task)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None:
            try:
                task()
            except Exception:  # noqa: BLE001 - a thread that serves all must not end with one
                _LOG.exception("a background task failed")

    def close(self) -> None:
        """Finish what was submitted, then end."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()
