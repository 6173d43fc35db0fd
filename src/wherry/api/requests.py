"""What is known of each request: its id, which log lines carry, and how long its answer took.

Only the event loop counts, so there are no locks.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

HEADER = "X-Request-Id"
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, in seconds."""

_GIVEN = re.compile(r"[A-Za-z0-9._-]{1,64}")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being worked for, in the loop and in its threads."""


def new_id(given: str) -> str:
    """The client's own id, if it can be shown as it is; else a fresh one of 16 hex digits."""
    return given if _GIVEN.fullmatch(given) else os.urandom(8).hex()


@dataclass(slots=True)
class Histogram:
    """How often something took how long."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0  # seconds

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Each bucket's upper bound and how many took no longer."""
        seen = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self.counts, strict=True):
            seen += count
            yield bound, seen


@dataclass(slots=True)
class Figures:
    """Since the engine's start. The keys are few: operations, statuses, kinds of events."""

    requests: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """By method, operation and status."""
    seconds: dict[str, Histogram] = field(default_factory=dict)
    """By operation, until the answer was there."""
    pending: int = 0
    """Requests that are being answered now, streams included."""

    def begin(self) -> None:
        self.pending += 1

    def end(self, method: str, operation: str, status: int, seconds: float | None) -> None:
        """``seconds`` is None for what was a stream: how long it took is its client's choice."""
        self.pending -= 1
        key = (method if operation else "", operation, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        if seconds is None:
            return
        histogram = self.seconds.get(operation)
        if histogram is None:
            histogram = self.seconds[operation] = Histogram()
        histogram.add(seconds)
