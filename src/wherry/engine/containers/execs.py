"""More processes in running containers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import msgspec

from wherry.engine.containers.exec_process import exec_process
from wherry.engine.containers.joining import shares_processes
from wherry.engine.containers.runtimes import external_runtime
from wherry.engine.events import Events
from wherry.engine.ids import new_id
from wherry.engine.records import Exec, ExecOptions
from wherry.engine.settings import EngineSettings
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument, NotFound, WherryError
from wherry.runtime.api import (
    CommandNotFound,
    ExecRequest,
    ExitStatus,
    Listening,
    Process,
    Runtime,
)
from wherry.sys.faults import reach

REMEMBERED = 2000
"""Execs that have ended or were never started; the oldest are forgotten."""


@dataclass
class _Entry:
    record: Exec
    process: Process | None = None
    expected: ExecRequest | None = None  # what the runtime was told to expect
    exited: Future[int] = field(default_factory=Future)


class Execs:
    """Implements ``engine.api.ExecApi``. Execs are forgotten with the engine, as Docker's are."""

    def __init__(
        self, settings: EngineSettings, table: ContainerTable, runtime: Runtime, events: Events
    ) -> None:
        self._settings = settings
        self._table = table
        self._runtime = runtime
        self._events = events
        self._lock = threading.Lock()
        self._execs: dict[str, _Entry] = {}

    def create(self, ref: str, options: ExecOptions) -> str:
        entry = self._table.find(ref)
        _check_runs(entry)
        if not options.cmd:
            raise InvalidArgument("No exec command specified")
        exec_id = new_id()
        with self._lock:
            self._forget_oldest()
            self._execs[exec_id] = _Entry(Exec(id=exec_id, container_id=entry.id, options=options))
        command = " ".join(options.cmd)
        self._events.container(f"exec_create: {command}", entry.record, execID=exec_id)
        return exec_id

    def expect(self, exec_id: str) -> None:
        with suppress(WherryError):  # the start tells
            target = self._find(exec_id)
            container = self._table.find(target.record.container_id)
            if not _takes_time(target.record.options):
                target.expected = self._request(target.record, container, False, None)
                self._runtime.expect_exec(target.expected)

    def _forget_oldest(self) -> None:
        surplus = len(self._execs) - REMEMBERED
        if surplus >= 0:
            idle = (key for key, e in self._execs.items() if not e.record.running)
            for key in list(islice(idle, surplus + 1)):
                del self._execs[key]

    def get(self, exec_id: str) -> Exec:
        return self._find(exec_id).record

    def exited(self, exec_id: str) -> Future[int]:
        """Done with the exit code when the process has ended and its record says so.

        A stream's end arrives on another way than the exit does: who promises his client that the
        exit code is there after the output waits for this.
        """
        source = self._find(exec_id).exited
        if source.done():
            return source
        own: Future[int] = Future()  # who gives up waiting cancels nobody else's

        def done(ended: Future[int]) -> None:
            if own.set_running_or_notify_cancel():
                own.set_result(ended.result())

        source.add_done_callback(done)
        return own

    def of_container(self, container_id: str) -> tuple[str, ...]:
        """Ids of the execs that run in a container."""
        with self._lock:
            records = [entry.record for entry in self._execs.values()]
        return tuple(r.id for r in records if r.container_id == container_id and r.running)

    def _find(self, exec_id: str) -> _Entry:
        with self._lock:
            found = self._execs.get(exec_id)
        if found is None:
            raise NotFound(f"No such exec instance: {exec_id}")
        return found

    def start(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, int] | None = None
    ) -> socket.socket | None:
        target, container = self._claim(exec_id)
        target.expected = None
        with ExitStack() as stack:
            ours, theirs = (None, None) if detach else socket.socketpair()
            if theirs:
                stack.enter_context(theirs)
            try:
                _check_runs(container)
                request = self._request(target.record, container, detach, console_size)
                process = self._runtime.exec(request, (theirs.fileno(),) if theirs else ())
            except BaseException as error:
                if ours:
                    ours.close()
                self._not_started(target, error)
                raise
        self._started(target, container, process)
        return ours

    def begin(
        self,
        exec_id: str,
        *,
        console_size: tuple[int, int] | None = None,
        say: Callable[[WherryError], bytes],
    ) -> socket.socket | None:
        if _takes_time(self.get(exec_id).options):
            return None
        target, container = self._claim(exec_id)
        ours, theirs = socket.socketpair()
        try:
            _check_runs(container)
            request = self._expected(target, container, console_size)
            answered = partial(self._answered, target, container, theirs, say)
            if self._runtime.exec_soon(request, (theirs.fileno(),), answered):
                return ours
        except BaseException as error:
            _close(ours, theirs)
            self._not_started(target, error)
            raise
        _close(ours, theirs)
        target.record = msgspec.structs.replace(target.record, running=False)
        return None

    def listen_for_begun(self) -> Listening:
        return self._runtime.listen_for_begun()

    def _expected(
        self, target: _Entry, container: Entry, console_size: tuple[int, int] | None
    ) -> ExecRequest:
        """The request for an attached exec, which may have been made already."""
        expected, target.expected = target.expected, None
        same_run = expected is not None and expected.container_pid == container.record.state.pid
        if expected is not None and same_run:
            return expected
        return self._request(target.record, container, False, console_size)

    def _answered(
        self,
        target: _Entry,
        container: Entry,
        stream: socket.socket,
        say: Callable[[WherryError], bytes],
        outcome: Process | WherryError,
    ) -> None:
        """Where what is begun is listened for: the process has started, or the stream tells why
        not."""
        with stream:
            if isinstance(outcome, WherryError):
                self._not_started(target, outcome)
                with suppress(OSError):  # nobody reads it any more
                    stream.sendall(say(outcome))
            else:
                self._started(target, container, outcome)

    def _claim(self, exec_id: str) -> tuple[_Entry, Entry]:
        """Mark an exec as running, which none is twice; Conflict."""
        target = self._find(exec_id)
        container = self._table.find(target.record.container_id)
        with self._lock:
            if target.record.running or target.record.exit_code is not None:
                raise Conflict(f"exec command {exec_id} has already run")
            target.record = msgspec.structs.replace(target.record, running=True)
        return target, container

    def _not_started(self, target: _Entry, error: BaseException) -> None:
        code = 127 if isinstance(error, CommandNotFound) else 126
        target.record = msgspec.structs.replace(target.record, running=False, exit_code=code)
        target.exited.set_result(code)
        _remove_state_dir(self._state_dir(target.record))

    def _started(self, target: _Entry, container: Entry, process: Process) -> None:
        reach("exec.answered")
        record = target.record
        target.process = process
        target.record = msgspec.structs.replace(record, pid=process.pid)
        self._events.container(
            f"exec_start: {' '.join(record.options.cmd)}", container.record, execID=record.id
        )
        process.on_exit(lambda status: self._ended(target, container, status))

    def _state_dir(self, record: Exec) -> str:
        return os.path.join(self._settings.runtime_dir(record.container_id), "exec", record.id)

    def _request(
        self,
        record: Exec,
        container: Entry,
        detach: bool,
        console_size: tuple[int, int] | None,
    ) -> ExecRequest:
        options = record.options
        runtime_dir = self._settings.runtime_dir(record.container_id)
        process = exec_process(
            container.record, options, runtime_dir, console_size or options.console_size
        )
        return ExecRequest(
            id=record.id,
            container_id=record.container_id,
            container_pid=container.record.state.pid,
            container_state_dir=os.path.join(runtime_dir, "state"),
            state_dir=self._state_dir(record),
            process=msgspec.Raw(msgspec.json.encode(process)),
            open_stdin=options.attach_stdin and not detach,
            console_size=console_size or options.console_size,
            attach=not detach,
            attach_streams=(options.attach_stdin, options.attach_stdout, options.attach_stderr),
            external=external_runtime(self._settings, container.record),
            apart=shares_processes(container.record, self._table),
        )

    def _ended(self, target: _Entry, container: Entry, status: ExitStatus) -> None:
        reach("exec.ended")
        process, target.process = target.process, None
        target.record = msgspec.structs.replace(
            target.record, running=False, exit_code=status.code, pid=0
        )
        self._events.container(
            "exec_die", container.record, execID=target.record.id, exitCode=str(status.code)
        )
        target.exited.set_result(status.code)  # clients wait for it, and for nothing of the rest
        if process:
            process.close()
        _remove_state_dir(self._state_dir(target.record))

    def resize(self, exec_id: str, rows: int, columns: int) -> None:
        process = self._find(exec_id).process
        if process is None:
            raise Conflict(f"exec process {exec_id} is not running")
        process.resize(rows, columns)

    def detached(self, exec_id: str) -> None:
        container = self._table.find(self.get(exec_id).container_id)
        self._events.container("exec_detach", container.record, execID=exec_id)

    def kill(self, exec_id: str, signum: int) -> None:
        """Send a signal to the exec's process, if it still runs."""
        process = self._find(exec_id).process
        if process:
            with suppress(Conflict):
                process.signal(signum)


def _takes_time(options: ExecOptions) -> bool:
    """A user is looked up in the container, and a terminal takes a whole process."""
    return bool(options.user) or options.tty


def _check_runs(entry: Entry) -> None:
    status = entry.record.state.status
    if status == "paused":
        raise Conflict(
            f"Container {entry.record.name} is paused, unpause the container before exec"
        )
    if status != "running":
        raise Conflict(f"container {entry.id} is not running")


def _remove_state_dir(path: str) -> None:
    """Remove a directory that has files only; few execs have one."""
    with suppress(OSError):
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()
