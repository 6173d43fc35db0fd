"""Who wants to know what happens, and what happened lately."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

from wherry.engine.records import Container, Event

_REMEMBERED = 1000

Kind = Literal["container", "image", "network", "volume", "builder", "daemon"]
Callback = Callable[[Event], None]


class Events:
    """Delivers each event to all subscribers in the order it happened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: dict[int, Callback] = {}
        self._next = 0
        self._past: deque[Event] = deque(maxlen=_REMEMBERED)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        with self._lock:
            self._next += 1
            token = self._next
            self._subscribers[token] = callback
        return lambda: self._unsubscribe(token)

    def _unsubscribe(self, token: int) -> None:
        with self._lock:
            self._subscribers.pop(token, None)

    @property
    def listeners(self) -> int:
        return len(self._subscribers)

    def past(self, since_ns: int, until_ns: int) -> tuple[Event, ...]:
        with self._lock:
            return tuple(e for e in self._past if since_ns <= e.time_ns <= until_ns)

    def emit(self, kind: Kind, action: str, actor_id: str, attributes: Mapping[str, str]) -> None:
        # Under the lock, so that subscribers see one order; callbacks only hand the event over.
        with self._lock:
            event = Event(
                type=kind,
                action=action,
                actor_id=actor_id,
                attributes=dict(attributes),
                time_ns=time.time_ns(),
            )
            self._past.append(event)
            for callback in self._subscribers.values():
                callback(event)

    def pruned(self, kind: Kind, reclaimed: int) -> None:
        self.emit(kind, "prune", "", {"reclaimed": str(reclaimed)})

    def container(self, action: str, record: Container, **extra: str) -> None:
        """An event of a container, with its labels, image and name as attributes."""
        attributes = dict(record.config.labels or {})
        attributes |= {"image": record.image_name, "name": record.name, **extra}
        self.emit("container", action, record.id, attributes)
