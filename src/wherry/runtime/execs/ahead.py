"""An exec that was created and is not started yet: a thread waits for the start in the container.

Nearly always the one follows the other at once. What comes before the program, from the thread to
the system call filter, takes longer than all the rest of an exec, and is done meanwhile.
"""

from __future__ import annotations

import time

from wherry.runtime.api import ExecRequest
from wherry.runtime.execs.beginning import Beginning
from wherry.runtime.execs.gate import Gate

PATIENCE = 0.1
"""Seconds that a thread waits. Meanwhile it is one more in the container's control groups, and what
it has found of the container's files gets older."""


class Ahead:
    """What was begun, and until when it is held (``time.monotonic``)."""

    def __init__(self, beginning: Beginning, gate: Gate) -> None:
        self._request = beginning.request
        self.beginning = beginning
        self.gate = gate
        self.until = time.monotonic() + PATIENCE

    def suits(self, request: ExecRequest) -> bool:
        """Whether it is this one that is started, in the same run of the container."""
        mine = self._request
        return (request.id, request.container_pid, request.open_stdin, bytes(request.process)) == (
            (mine.id, mine.container_pid, mine.open_stdin, bytes(mine.process))
        )
