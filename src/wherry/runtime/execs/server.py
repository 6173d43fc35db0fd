"""The exec server: a process that serves the execs of one container, one after the other and at
the same time.

A starter becomes one with the first exec of a container. To fork a starter and a monitor costs more
than all else about an exec, and is so done once. It looks after the processes, too: a monitor for
each (monitor/monitor.py), in one loop. Its threads enter the container (entering.py), and nothing
of it is in the container's control groups but such a thread.

There is one for each container rather than for all: a thread that the container's groups stop or
slow down may hold the interpreter's lock, and then stops the others of that container alone. Nor
does anything of one container get into a process that another one's execs come from.

Its parent, which would have been the monitor of one exec, is its guard: should the server be
killed, all that it has spawned becomes the guard's, which ends it. See docs/protocols/execs.md.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from wherry.errors import Conflict, InvalidArgument
from wherry.runtime.api import ExecRequest
from wherry.runtime.execs.ahead import Ahead
from wherry.runtime.execs.beginning import Beginning, NotHere
from wherry.runtime.execs.cloning import Cloning
from wherry.runtime.execs.entering import Outcome, enter
from wherry.runtime.execs.gate import Gate, gated
from wherry.runtime.execs.inherited import Inherited
from wherry.runtime.host import Host
from wherry.runtime.launch.outset import OpenedExec, has_ended, open_another
from wherry.runtime.launch.spawn import Child, Group, spawn
from wherry.runtime.loop import Loop
from wherry.runtime.messages import Expect, close_all, receive, to_exec_server
from wherry.runtime.monitor.monitor import Monitor
from wherry.runtime.ops.base import Setup
from wherry.runtime.plan.planning import Plan
from wherry.runtime.state import EXECS_CRASH, write_atomically
from wherry.sys.faults import reach

IDLE = 10.0
"""Seconds without an exec after which the server ends."""
MOST = 100
"""Execs at a time: each takes seven descriptors, of which there may be few."""


class ExecServer:
    """``channel`` is where requests come from, ``guard`` a connection to the parent. ``settled`` is
    called when the first exec has begun or failed."""

    _known: OpenedExec  # the last one, from the first on

    def __init__(
        self,
        channel: socket.socket,
        guard: socket.socket,
        host: Host,
        settled: Callable[[], None],
    ) -> None:
        self._host = host
        self._first_settled = settled
        self._loop = Loop()
        self._channel: socket.socket | None = channel
        self._guard = guard
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._entered: deque[tuple[Beginning, Outcome]] = deque()
        self._entering = 0
        self._ahead: Ahead | None = None
        self._inherited: Inherited | None = None  # from the first exec on
        self._running: set[Monitor] = set()
        self._busy_until = time.monotonic()

    def run(self, request: ExecRequest, fds: list[int], first: OpenedExec) -> None:
        """Serve until nobody has asked for a while, or can ask any more, and all has ended."""
        gc.enable()  # the launcher has frozen what was there before
        finders, path = sys.meta_path[:], sys.path[:]
        sys.meta_path.clear()  # a thread that has entered must not import the container's files
        sys.path.clear()
        try:
            self._serve(request, fds, first)
        except BaseException:  # noqa: BLE001 - a defect of ours
            sys.meta_path[:], sys.path[:] = finders, path
            _leave_trace(request.container_state_dir)

    def _serve(self, request: ExecRequest, fds: list[int], first: OpenedExec) -> None:
        if self._channel is not None:
            self._loop.watch(self._channel.fileno(), select.EPOLLIN, self._on_request)
        self._loop.watch(self._guard.fileno(), select.EPOLLIN, self._on_guard)
        self._loop.watch(self._wake, select.EPOLLIN, self._on_entered)
        self._loop.watch(first.container, select.EPOLLIN, self._on_container_end)
        self._known = first
        self._begin(request, fds, first)
        while self._channel is not None or self._entering or self._running:
            self._loop.turn(self._patience())
            self._settle()

    def _patience(self) -> float:
        if self._entering or self._running:
            waits = [wait for one in self._running if (wait := one.patience()) >= 0]
            if self._ahead is not None:
                waits.append(max(0.0, self._ahead.until - time.monotonic()))
            return min(waits, default=-1)
        return max(0.0, self._busy_until + IDLE - time.monotonic())

    def _settle(self) -> None:
        for monitor in [one for one in self._running if one.settled()]:
            self._running.discard(monitor)
            monitor.close()
            self._busy_until = time.monotonic()
        if self._ahead is not None and time.monotonic() >= self._ahead.until:
            self._drop_ahead()
        idle = not (self._entering or self._running)
        if idle and time.monotonic() >= self._busy_until + IDLE:
            self._retire()

    # --- requests ---

    def _on_request(self, _fd: int) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            packet = receive(channel, to_exec_server, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except InvalidArgument:
            return  # its connection was closed, which tells the sender
        except OSError:
            packet = None
        if packet is None:
            self._close_channel()
        elif isinstance(packet[0], Expect):
            close_all(packet[1])
            self._expect(packet[0].request)
        else:
            reach("starter.taken")
            self._begin(packet[0].request, packet[1])

    def _expect(self, request: ExecRequest) -> None:
        """An exec was created: begin as far as that can be done before it is started. Only if no
        other is on its way, so that nobody fills the container's groups with threads."""
        if self._entering:
            return
        beginning = Beginning(request)
        self._entering += 1
        try:
            plan, stdio = self._prepare(beginning)
            gate = Gate()
            beginning.close_last(gate.fd)
            self._go(beginning, plan, stdio, gate)
            self._ahead = Ahead(beginning, gate)
        except Exception as error:  # noqa: BLE001 - the start will tell, if it is still so
            self._finish(beginning, error)

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.gate.shut()
            self._ahead = None

    def _begin(
        self, request: ExecRequest, fds: list[int], opened: OpenedExec | None = None
    ) -> None:
        if len(fds) != 1 + request.attach:
            close_all(fds)
            return
        ahead = self._ahead
        if ahead is not None and ahead.suits(request):
            self._ahead = None
            ahead.beginning.connect(fds)
            ahead.gate.open()
            return
        beginning = Beginning(request)
        beginning.connect(fds)
        self._entering += 1
        try:
            plan, stdio = self._prepare(beginning, opened)
            self._go(beginning, plan, stdio)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
            self._finish(beginning, error)

    def _prepare(
        self, beginning: Beginning, opened: OpenedExec | None = None
    ) -> tuple[Plan, tuple[int, int, int]]:
        """What is to be done, and the program's streams; NotHere."""
        if self._entering + len(self._running) > MOST:
            raise NotHere
        found = opened or open_another(beginning.request, self._host, self._known)
        if found is None:
            raise NotHere
        self._known = found
        stdio = beginning.prepare(found)
        if self._inherited is None:
            self._inherited = Inherited(found.plan.ops)
        if not self._inherited.suits(found.plan.ops):
            raise NotHere
        ops = tuple(self._inherited.applied(found.plan.ops))
        return msgspec.structs.replace(found.plan, ops=ops), stdio

    def _go(
        self,
        beginning: Beginning,
        plan: Plan,
        stdio: tuple[int, int, int],
        gate: Gate | None = None,
    ) -> None:
        way = self._clone if self._host.layout.unified else self._enter
        way(beginning, plan, stdio, gate)

    def _enter(
        self,
        beginning: Beginning,
        plan: Plan,
        stdio: tuple[int, int, int],
        gate: Gate | None,
    ) -> None:
        setup = Setup(None, stdio, None, self._known.container)
        beginning.close_later(setup.proc_fd)

        def entered(outcome: Outcome) -> None:
            self._entered.append((beginning, outcome))  # by the thread; deques are safe

        enter(plan.ops, setup, self._wake, entered, gate)

    def _clone(
        self,
        beginning: Beginning,
        plan: Plan,
        stdio: tuple[int, int, int],
        gate: Gate | None,
    ) -> None:
        plan = msgspec.structs.replace(plan, ops=tuple(gated(plan.ops, gate)))
        group = Group(self._host.cgroups, plan, existing=True)
        kept = None if gate is None else gate.fd
        container = self._known.container
        child = spawn(plan, group, stdio=stdio, container_pidfd=container, start_fd=kept)
        beginning.take(child)
        Cloning(child, self._loop, partial(self._finish, beginning))

    def _on_entered(self, fd: int) -> None:
        try:
            os.eventfd_read(fd)
        except BlockingIOError:
            return
        while self._entered:
            beginning, outcome = self._entered.popleft()
            if isinstance(outcome, int):
                self._finish(beginning, Child(outcome, os.pidfd_open(outcome)), new=True)
            else:
                self._finish(beginning, outcome)

    def _finish(
        self, beginning: Beginning, outcome: Child | BaseException, *, new: bool = False
    ) -> None:
        """The program runs, or will not; of a ``new`` process the beginning does not know yet."""
        self._entering -= 1
        if self._ahead is not None and self._ahead.beginning is beginning:
            self._ahead = None  # something is wrong there, or has been
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            if new:
                beginning.take(outcome)
            self._running.add(beginning.hand_over(self._host, self._loop))
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
            beginning.fail(self._reason(beginning, error))
        self._busy_until = time.monotonic()
        self._first_settled()

    def _reason(self, beginning: Beginning, error: Exception) -> Exception:
        """Why an exec did not start: nothing is found, entered or made in what has ended."""
        ended = isinstance(error, Conflict) or has_ended(self._known.container)
        if isinstance(error, NotHere) or not ended:
            return error
        return Conflict(f"Container {beginning.request.container_id} is not running")

    # --- the end ---

    def _on_container_end(self, fd: int) -> None:
        """Whoever removes it is not to wait for a thread in its control groups."""
        self._loop.forget(fd)
        self._drop_ahead()

    def _on_guard(self, _fd: int) -> None:
        """The guard has gone, and says nothing else: another server takes what comes."""
        self._loop.forget(self._guard.fileno())
        self._retire()

    def _retire(self) -> None:
        """Take no more requests but those that were sent."""
        if self._channel is not None:
            self._channel.shutdown(socket.SHUT_RD)
        while self._channel is not None:
            self._on_request(self._channel.fileno())

    def _close_channel(self) -> None:
        self._drop_ahead()
        if self._channel is not None:
            self._loop.forget(self._channel.fileno())
            self._channel.close()
            self._channel = None


def _leave_trace(place: str) -> None:
    """Write down what the server died of, beside what is known of its container."""
    import traceback

    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    write_atomically(directory, EXECS_CRASH, traceback.format_exc().encode())
