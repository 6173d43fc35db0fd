"""Where a thread waits in a container until the exec is started that it has entered for."""

from __future__ import annotations

import os

from wherry.runtime.ops.base import Op, Setup

_GO, _STOP = 1, 2


class Dropped(Exception):
    """The start has not come."""


class Gate:
    """For one thread; ``fd`` is an eventfd(2)."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)

    def open(self) -> None:
        """Let it make the process."""
        os.eventfd_write(self.fd, _GO)

    def shut(self) -> None:
        """Let it end."""
        os.eventfd_write(self.fd, _STOP)


class AwaitGate(Op, frozen=True):
    """Wait until the exec is started. Dropped if it is not."""

    gate: Gate

    def describe(self) -> str:
        return "wait for the start"

    def execute(self, setup: Setup) -> None:
        if os.eventfd_read(self.gate.fd) != _GO:
            raise Dropped
