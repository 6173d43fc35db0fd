"""What all execs of a container have alike, done once in their server: each capability that is left
out of the bounding set takes a system call of its own, and each control group of version 1 has to
be looked up by its path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import msgspec

from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.ops.kernel import JoinCgroup
from wherry.runtime.ops.program import BecomeUser
from wherry.sys import caps


class Inherited:
    """Made of the first exec's operations, in the server's first thread: all that it makes later
    has its bounding set. OSError if the control groups are gone."""

    def __init__(self, ops: Iterable[Op]) -> None:
        self._bounding, self._tasks = _alike(ops)
        with ExitStack() as opened:
            self._files = tuple(_opened(path, opened) for path in self._tasks)
            caps.drop_bounding(self._bounding)
            opened.pop_all()  # until the server ends

    def suits(self, ops: Iterable[Op]) -> bool:
        """Whether these are of an exec that has the same."""
        return _alike(ops) == (self._bounding, self._tasks)

    def applied(self, ops: Iterable[Op]) -> Iterator[Op]:
        """The same operations without what need not be done again."""
        for op in ops:
            if isinstance(op, JoinCgroup):
                yield EnterCgroup(self._files)
            elif isinstance(op, BecomeUser):
                yield msgspec.structs.replace(op, bounding=caps.ALL)
            else:
                yield op


def _opened(path: str, stack: ExitStack) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _alike(ops: Iterable[Op]) -> tuple[int, tuple[str, ...]]:
    """The bounding set, and the files by which control groups are entered."""
    bounding = caps.ALL
    tasks: tuple[str, ...] = ()
    for op in ops:
        if isinstance(op, JoinCgroup):
            tasks = op.tasks
        elif isinstance(op, BecomeUser):
            bounding = op.bounding
    return bounding, tasks


class EnterCgroup(Op, frozen=True):
    """Enter control groups of version 1 that exist, with the calling thread alone."""

    files: tuple[int, ...]  # of tasks, open

    def describe(self) -> str:
        return "enter the control group"

    def execute(self, setup: Setup) -> None:
        for fd in self.files:
            os.write(fd, b"0")
