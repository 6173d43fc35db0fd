"""Where a thread or a clone waits in a container until the exec is started that it is for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.program import Execute

_GO, _STOP = 1, 2


class Dropped(Exception):
    """The start has not come."""


class Gate:
    """For one of them; ``fd`` is an eventfd(2)."""

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


def gated(ops: Iterable[Op], gate: Gate | None) -> Iterator[Op]:
    """Operations that wait before the program is executed, if there is a gate."""
    for op in ops:
        if gate is not None and isinstance(op, Execute):
            yield AwaitGate(gate)
        yield op
