"""Entering a running container with a thread, and spawning a process from there.

A process of an exec must be born in the container's namespaces. To clone one (launch/spawn.py) is
to copy the interpreter: hundreds of pages that the copy then writes to, each of them a fault. Here
a thread of the exec server enters instead. Namespaces, ids, capabilities, the filter, the keyring
and control groups of version 1 belong to a thread (clone(2), credentials(7), seccomp(2)), the
working directory and the descriptors as soon as it does not share them. From there posix_spawn(3)
makes the process without copying anything. The first thread stays on the host and does the rest.

    first thread                           the thread that enters
    start it ------------------------->    descriptors and directory of its own
    (serves others)                        control group, namespaces, user, filter
                                           posix_spawn: namespaces of its PIDs, execve
    record, listen, tell <-------------    end

What belongs to a whole process cannot be had so; ``Plan.enterable`` tells, and launch/spawn.py does
it.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence

from wherry.errors import WherryError
from wherry.runtime.execs.gate import Gate, gated
from wherry.runtime.execs.inherited import EnterCgroup
from wherry.runtime.ops.base import Op, Setup, run
from wherry.runtime.ops.kernel import join
from wherry.runtime.ops.program import AnnounceReady, CloseDescriptors, Execute, SetStdio
from wherry.sys.faults import reach
from wherry.sys.files import close_range
from wherry.sys.namespaces import CLONE_FILES, CLONE_FS, CLONE_NEWPID, unshare

Outcome = int | BaseException
"""The number of the process, or why there is none."""


class NoRoom(WherryError):
    """The group's limit on processes does not leave room for the thread beside the process."""


def enter(
    ops: Sequence[Op],
    setup: Setup,
    wake: int,
    finished: Callable[[Outcome], None],
    gate: Gate | None = None,
) -> None:
    """Begin to carry out a plan's operations in a thread, which calls ``finished`` and then adds to
    ``wake``, an eventfd(2). At a ``gate`` it waits before it makes the process.

    The files that the thread sees are the container's: in a process that calls this nothing may be
    imported any more. The descriptors of ``setup`` may be closed when it has finished. Of control
    groups there is an :class:`EnterCgroup`.
    """
    kept = (wake,) if gate is None else (wake, gate.fd)
    files = [fd for op in ops if isinstance(op, EnterCgroup) for fd in op.files]
    own = (SetApart((*kept, *files)), *_in_a_thread(gated(ops, gate), kept))

    def body() -> None:
        outcome: Outcome
        try:
            run(own, setup)
            outcome = setup.spawned
        except BaseException as error:  # noqa: BLE001 - the first thread tells of it
            outcome = error
        finished(outcome)
        os.eventfd_write(wake, 1)

    _thread.start_new_thread(body, ())


def _in_a_thread(ops: Iterable[Op], kept: tuple[int, ...]) -> Iterator[Op]:
    """The same operations without a parent to talk to, and for one thread alone."""
    for op in ops:
        if isinstance(op, SetStdio):
            yield PlaceStreams(op)
        elif isinstance(op, CloseDescriptors):
            yield CloseAll(kept)
        elif isinstance(op, Execute):
            yield Spawn(op)
        elif not isinstance(op, AnnounceReady):
            yield op


def _close_all_but(kept: Sequence[int]) -> None:
    """Close all descriptors from 3 on except for some."""
    first = 3
    for fd in sorted(kept):
        if first < fd:
            close_range(first, fd - 1)
        first = max(first, fd + 1)
    close_range(first)


class SetApart(Op, frozen=True):
    """Part with the first thread: directory, the PIDs of what is spawned, and descriptors. Of those
    of other execs none comes along: their ends would not be seen as long as this one has them."""

    kept: tuple[int, ...]

    def describe(self) -> str:
        return "enter the container's process namespace"

    def execute(self, setup: Setup) -> None:
        unshare(CLONE_FILES | CLONE_FS)
        if setup.pidfd is None or setup.stdio is None:
            raise OSError(errno.EBADF, "no container or no streams were given")
        _close_all_but((*self.kept, setup.proc_fd, setup.pidfd, *setup.stdio))
        join(setup.pidfd, CLONE_NEWPID)
        reach("init.begun")


class PlaceStreams(Op, frozen=True):
    """Put the standard streams in place; the session is made with the process."""

    streams: SetStdio

    def describe(self) -> str:
        return self.streams.describe()

    def execute(self, setup: Setup) -> None:
        self.streams.place(setup)


class CloseAll(Op, frozen=True):
    """Close what is left of the server's descriptors; see CloseDescriptors. What the thread and the
    server wake each other with stays, and is closed by execve(2): it leads nowhere, and cannot be
    opened again."""

    kept: tuple[int, ...]

    def describe(self) -> str:
        return "close the inherited files"

    def execute(self, setup: Setup) -> None:
        _close_all_but(self.kept)


class Spawn(Op, frozen=True):
    """Make the process, which is the program at once (posix_spawn(3))."""

    program: Execute

    def describe(self) -> str:
        return self.program.describe()

    def execute(self, setup: Setup) -> None:
        environment = dict(entry.split(b"=", 1) for entry in setup.env)
        try:
            setup.spawned = os.posix_spawn(
                setup.program,
                self.program.args,
                environment,
                setsid=True,
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            if error.errno == errno.EAGAIN:
                raise NoRoom(str(error)) from None
            raise self.program.failure(setup, error) from None
