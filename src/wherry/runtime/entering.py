"""Entering a running container with a thread, and spawning a process from there.

A process of an exec must be born in the container's namespaces. To clone one (spawn.py) is to copy
the interpreter: hundreds of pages that the copy then writes to, each of them a fault. Here a thread
of the starter enters instead. Namespaces, ids, capabilities, the filter, the keyring and control
groups of version 1 belong to a thread (clone(2), credentials(7), seccomp(2)), the working directory
and the descriptors as soon as it does not share them. From there posix_spawn(3) makes the process
without copying anything. The first thread stays on the host and does the rest.

    first thread                           the thread that enters
    start it ------------------------->    descriptors and directory of its own
                                           control group, namespaces, user, filter
                                           posix_spawn: namespaces of its PIDs, execve
    record, listen, tell <-------------    end

The process is the starter's child and becomes the monitor's, a subreaper, when the starter ends.
What belongs to a whole process cannot be had so; ``Plan.enterable`` tells, and spawn.py does it.
"""

from __future__ import annotations

import _thread
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from wherry.errors import WherryError
from wherry.runtime.host import CGROUPS, Host
from wherry.runtime.ops.base import Op, Setup, run
from wherry.runtime.ops.kernel import JoinCgroup
from wherry.runtime.ops.program import AnnounceReady, CloseDescriptors, Execute, SetStdio
from wherry.runtime.plan import Plan
from wherry.runtime.spawn import Child, Group
from wherry.runtime.ways import OwnWay, Passed
from wherry.sys.faults import reach
from wherry.sys.files import close_range
from wherry.sys.namespaces import CLONE_FILES, CLONE_FS, CLONE_NEWPID, setns, unshare

T = TypeVar("T")
_LONGEST_END_S = 1.0
_PAUSE_S = 0.001


class NoRoom(WherryError):
    """The group's limit on processes does not leave room for the thread beside the process."""


class EnteringWay:
    """How an exec comes to life; see :class:`wherry.runtime.ways.Way`."""

    kill = ()

    def __init__(self, plan: Plan, passed: Passed, host: Host) -> None:
        self._plan = plan
        self._passed = passed
        self._group = Group(host.cgroups, plan, existing=True)
        self._unified = host.layout.unified
        self._cloning = OwnWay(plan, passed, host, existing=True)
        self._cloned = False

    def begin(self, stdio: tuple[int, int, int] | None, directory: int) -> Child:
        """Enter and spawn; clone if there is no room for the thread."""
        own = _own_group() if self._unified else ""
        try:
            pid = self._enter(stdio)
        except NoRoom:
            self._cloned = True
            _await_end_of_thread()
            if own:  # the starter, too, takes room from the process that it clones
                _join(own)
            return self._cloning.begin(stdio, directory)
        return Child(pid, os.pidfd_open(pid))

    def complete(self, child: Child, meanwhile: Callable[[], T]) -> T:
        """The program is executed already, or cloning goes on."""
        if self._cloned:
            return self._cloning.complete(child, meanwhile)
        try:
            return meanwhile()
        except BaseException:
            self.abandon(child)
            raise

    def abandon(self, child: Child) -> None:
        """See :class:`wherry.runtime.ways.Way`."""
        child.kill()

    def _enter(self, stdio: tuple[int, int, int] | None) -> int:
        group = self._group.open().directory_fd() if self._unified else None
        setup = Setup(None, stdio, None, self._passed.container)
        ops: list[Op] = [SetApart(group), *_in_a_thread(self._plan.ops)]
        try:
            _run_in_thread(ops, setup)
        finally:
            os.close(setup.proc_fd)
            if group is not None:
                os.close(group)
        return setup.spawned


def _own_group() -> str:
    """The directory of this process's group of version 2 (cgroups(7))."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        paths = [line.rstrip("\n")[3:] for line in file if line.startswith("0::")]
    return CGROUPS + paths[0]


def _join(group: str) -> None:
    fd = os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _await_end_of_thread() -> None:
    """A thread that is about to end is counted in its group until it is gone."""
    deadline = time.monotonic() + _LONGEST_END_S
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
        time.sleep(_PAUSE_S)


def _run_in_thread(ops: Sequence[Op], setup: Setup) -> None:
    failed: list[BaseException] = []
    finished = _thread.allocate_lock()
    finished.acquire()

    def body() -> None:
        try:
            run(ops, setup)
        except BaseException as error:  # noqa: BLE001 - raised in the first thread
            failed.append(error)
        finally:
            finished.release()

    finders, paths = sys.meta_path[:], sys.path[:]
    # The files that the thread sees are the container's: nothing may be imported from there.
    sys.meta_path.clear()
    sys.path.clear()
    try:
        _thread.start_new_thread(body, ())
        finished.acquire()
    finally:
        sys.meta_path[:], sys.path[:] = finders, paths
    if failed:
        raise failed[0]


def _in_a_thread(ops: Sequence[Op]) -> Iterator[Op]:
    """The same operations without a parent to talk to, and for one thread alone."""
    for op in ops:
        if isinstance(op, JoinCgroup):
            yield EnterCgroup(op.tasks)
        elif isinstance(op, SetStdio):
            yield PlaceStreams(op)
        elif isinstance(op, CloseDescriptors):
            yield CloseAll()
        elif isinstance(op, Execute):
            yield Spawn(op)
        elif not isinstance(op, AnnounceReady):
            yield op


class SetApart(Op, frozen=True):
    """Part with the first thread: descriptors, directory, and the PIDs of what is spawned. In a
    group of version 2 there is no thread alone, so that all of this process is moved to it."""

    group: int | None  # a directory of cgroup v2

    def describe(self) -> str:
        return "enter the container's process namespace"

    def execute(self, setup: Setup) -> None:
        unshare(CLONE_FILES | CLONE_FS)
        if setup.pidfd is not None:
            setns(setup.pidfd, CLONE_NEWPID)
        if self.group is not None:
            fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self.group)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
        reach("init.begun")


class EnterCgroup(Op, frozen=True):
    """Enter a control group that exists, on version 1 with this thread alone."""

    tasks: tuple[str, ...]

    def describe(self) -> str:
        return "enter the control group"

    def execute(self, setup: Setup) -> None:
        JoinCgroup(self.tasks, False).enter()


class PlaceStreams(Op, frozen=True):
    """Put the standard streams in place; the session is made with the process."""

    streams: SetStdio

    def describe(self) -> str:
        return self.streams.describe()

    def execute(self, setup: Setup) -> None:
        self.streams.place(setup)


class CloseAll(Op, frozen=True):
    """Close what the thread has of the starter's descriptors; see CloseDescriptors."""

    def describe(self) -> str:
        return "close the inherited files"

    def execute(self, setup: Setup) -> None:
        close_range(3)


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
