"""Waits until nothing runs, so that no engine is measured while another still works.

An engine that has answered may go on for long: dockerd and its shims clear up for some 50 ms after
an exec, which made the next engine's exec take 12 ms in place of 5.
"""

from __future__ import annotations

import time
from typing import NamedTuple

_WINDOW = 0.05  # seconds; the kernel counts hundredths
_BUSY = 0.1  # of all processors
_PATIENCE = 3.0  # seconds; a machine that is never quiet is measured as it is


class _Ticks(NamedTuple):
    idle: int
    all: int


def wait_until_quiet() -> None:
    """Return when the processors have been idle for a moment, or after a few seconds."""
    deadline = time.monotonic() + _PATIENCE
    before = _ticks()
    while time.monotonic() < deadline:
        time.sleep(_WINDOW)
        now = _ticks()
        passed, idle = now.all - before.all, now.idle - before.idle
        if passed and idle >= passed * (1 - _BUSY):
            return
        before = now


def _ticks() -> _Ticks:
    """Of all processors since the boot (proc_stat(5): the fourth and fifth column are idle)."""
    with open("/proc/stat", encoding="ascii") as file:
        counts = [int(word) for word in file.readline().split()[1:9]]
    return _Ticks(counts[3] + counts[4], sum(counts))
