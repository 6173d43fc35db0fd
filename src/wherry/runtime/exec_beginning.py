"""One exec in an exec server, from its request to a process that a monitor looks after."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from wherry.errors import InternalError
from wherry.runtime import state
from wherry.runtime.api import ExecRequest, LogSettings
from wherry.runtime.entering import NoRoom, Outcome
from wherry.runtime.host import Host
from wherry.runtime.loop import Loop
from wherry.runtime.messages import Elsewhere, Failed, Keep, Started, failure, send
from wherry.runtime.monitor import Monitor
from wherry.runtime.ops.base import Setup
from wherry.runtime.outset import (
    Streams,
    listen_in,
    open_state_dir,
    open_streams,
    write_record,
)
from wherry.runtime.plan import Plan
from wherry.runtime.spawn import Child
from wherry.sys.faults import reach


class NotHere(Exception):
    """Something of it belongs to a whole process, which a starter makes."""


class Beginning:
    """What there is of an exec before its program runs; :meth:`fail` undoes all of it.

    ``fds`` are the answer's connection and, if there is one, the attached client's stream.
    """

    def __init__(self, request: ExecRequest, fds: list[int]) -> None:
        self.request = request
        self._mine = ExitStack()  # closes what is not a monitor's in the end
        for fd in fds[1:]:
            self._mine.callback(os.close, fd)
        self._connection = self._mine.enter_context(socket.socket(fileno=fds[0]))
        self._client = tuple(fds[1:])
        self._transient = self._mine.enter_context(ExitStack())  # what only the thread needs
        self._plan: Plan | None = None
        self._directory = -1
        self._made = False
        self._streams = Streams()

    def prepare(self, plan: Plan, container: int) -> Setup:
        """Make all that the thread needs; ``container`` is a pidfd, which is taken over."""
        self._transient.callback(os.close, container)
        if not plan.enterable:
            raise NotHere
        self._plan = plan
        reach("starter.planned")
        self._directory, self._made = open_state_dir(self.request.state_dir)
        self._mine.callback(os.close, self._directory)
        self._streams = open_streams(self.request.open_stdin)
        for fd in (*self._streams.outputs, *self._streams.stdin):
            self._mine.callback(os.close, fd)
        for fd in self._streams.theirs or ():
            self._transient.callback(os.close, fd)
        setup = Setup(None, self._streams.theirs, None, container)
        self._transient.callback(os.close, setup.proc_fd)
        return setup

    def complete(self, outcome: Outcome, host: Host, loop: Loop) -> Monitor | None:
        """Go on when the thread has finished; None if that failed, which is told."""
        self._transient.close()
        if isinstance(outcome, BaseException):
            self.fail(outcome)
            return None
        child = Child(outcome, os.pidfd_open(outcome))
        self._mine.callback(os.close, child.pidfd)
        reach("starter.cloned")
        try:
            return self._hand_over(child, host, loop)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
            child.kill()
            self.fail(error)
            return None

    def _hand_over(self, child: Child, host: Host, loop: Loop) -> Monitor:
        if self._plan is None:
            raise InternalError("an exec was not prepared")
        write_record(self._directory, self.request, self._plan, child, host)
        reach("starter.recorded")
        listener = self._mine.enter_context(listen_in(self._directory))
        reach("starter.executed")
        self._tell(Started(child.pid))
        reach("starter.told")
        fds = [child.pidfd, self._connection.detach(), listener.detach(), *self._streams.outputs]
        fds += [*self._client, self._directory, *self._streams.stdin]
        self._mine.pop_all()
        monitor = Monitor(self._keep(child, self._plan), fds, host.cgroups, loop)
        reach("starter.handed")
        return monitor

    def _keep(self, child: Child, plan: Plan) -> Keep:
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
            alone=plan.own_pids,
            poststop=(),
            state=plan.state,
        )

    def fail(self, error: BaseException) -> None:
        """Tell the engine, and leave nothing."""
        elsewhere = isinstance(error, NoRoom | NotHere)
        self._tell(Elsewhere() if elsewhere else failure(error))
        if self._directory >= 0:
            state.forget(self._directory)
        if self._made:
            os.rmdir(self.request.state_dir)
        self._mine.close()

    def _tell(self, answer: Started | Elsewhere | Failed) -> None:
        try:
            send(self._connection, answer)
        except OSError:
            pass  # the engine has gone; what runs does so until its container ends
