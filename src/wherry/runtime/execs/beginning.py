"""One exec in an exec server, from its request to a process that a monitor looks after.

Nothing of it is written down. A process that a server has spawned ends with it, and execs are
forgotten with their engine: nobody would ever read it.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from wherry.errors import InternalError
from wherry.runtime.api import ExecRequest, LogSettings
from wherry.runtime.execs.entering import NoRoom
from wherry.runtime.host import Host
from wherry.runtime.launch.outset import OpenedExec, Streams, open_streams
from wherry.runtime.launch.spawn import Child
from wherry.runtime.loop import Loop
from wherry.runtime.messages import Elsewhere, Failed, Keep, Started, failure, send
from wherry.runtime.monitor.monitor import Monitor
from wherry.sys.faults import reach


class NotHere(Exception):
    """A starter does it: something of it belongs to a whole process, or the container is not the
    one that is served here."""


class Beginning:
    """What there is of an exec before its program runs; :meth:`fail` undoes all of it."""

    def __init__(self, request: ExecRequest) -> None:
        self.request = request
        self._mine = ExitStack()  # closes what is not a monitor's in the end
        self._connection: socket.socket | None = None
        self._client: tuple[int, ...] = ()
        self._until_handed = self._mine.enter_context(ExitStack())
        self._transient = self._mine.enter_context(ExitStack())  # only what begins needs it
        self._opened: OpenedExec | None = None
        self._streams = Streams()
        self._child: Child | None = None

    def connect(self, fds: list[int]) -> None:
        """Take the answer's connection and, if there is one, the attached client's stream."""
        for fd in fds[1:]:
            self._mine.callback(os.close, fd)
        self._connection = self._mine.enter_context(socket.socket(fileno=fds[0]))
        self._client = tuple(fds[1:])

    def prepare(self, opened: OpenedExec) -> tuple[int, int, int]:
        """Make the streams; returns the program's ends."""
        if not opened.plan.enterable:
            raise NotHere
        self._opened = opened
        reach("starter.planned")
        self._streams = open_streams(self.request.open_stdin)
        for fd in (*self._streams.outputs, *self._streams.stdin):
            self._mine.callback(os.close, fd)
        theirs = self._streams.theirs or (-1, -1, -1)
        for fd in theirs:
            self._transient.callback(os.close, fd)
        return theirs

    def close_later(self, fd: int) -> None:
        """Close a descriptor as soon as there is a process."""
        self._transient.callback(os.close, fd)

    def close_last(self, fd: int) -> None:
        """Close a descriptor when the program runs, or when that has failed."""
        self._until_handed.callback(os.close, fd)

    def take(self, child: Child) -> None:
        """There is a process: it is ended should anything fail."""
        self._child = child
        self._mine.callback(os.close, child.pidfd)
        self._transient.close()
        reach("starter.cloned")

    def hand_over(self, host: Host, loop: Loop) -> Monitor:
        """Tell the engine of the program that was executed, and give it to a monitor."""
        child, opened, connection = self._child, self._opened, self._connection
        if child is None or opened is None or connection is None:
            raise InternalError("an exec has no process, or nobody has asked for it")
        reach("starter.executed")
        self._tell(Started(child.pid))
        reach("starter.told")
        fds = [child.pidfd, connection.detach(), *self._streams.outputs]
        fds += [*self._client, *self._streams.stdin]
        self._until_handed.close()
        self._mine.pop_all()
        monitor = Monitor(self._keep(child, opened), fds, host.cgroups, loop)
        reach("starter.handed")
        return monitor

    def _keep(self, child: Child, opened: OpenedExec) -> Keep:
        return Keep(
            pid=child.pid,
            created_mountpoints=(),
            terminal=False,
            stdin=bool(self._streams.stdin),
            stdin_once=True,
            attach=bool(self._client),
            attach_streams=self.request.attach_streams,
            log=LogSettings(driver="none"),
            cgroup="",
            alone=opened.plan.own_pids,
            poststop=(),
            state=opened.plan.state,
            recorded=False,
        )

    def fail(self, error: BaseException) -> None:
        """End the process, leave nothing, and tell the engine."""
        if self._child is not None:
            self._child.kill()
        elsewhere = isinstance(error, NoRoom | NotHere)
        self._tell(Elsewhere() if elsewhere else failure(error))
        self._mine.close()

    def _tell(self, answer: Started | Elsewhere | Failed) -> None:
        if self._connection is None:
            return
        try:
            send(self._connection, answer)
        except OSError:
            pass  # the engine has gone; what runs does so until its container ends
