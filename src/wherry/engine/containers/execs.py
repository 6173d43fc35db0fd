"""More processes in running containers."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
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
from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.runtime.api import CommandNotFound, ExecRequest, ExitStatus, Process, Runtime
from wherry.sys.faults import reach

_REMEMBERED = 1000


@dataclass
class _Entry:
    record: Exec
    process: Process | None = None
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

    def _forget_oldest(self) -> None:
        surplus = len(self._execs) - _REMEMBERED
        if surplus > 0:
            ended = (key for key, e in self._execs.items() if e.record.exit_code is not None)
            for key in list(islice(ended, surplus)):
                del self._execs[key]

    def get(self, exec_id: str) -> Exec:
        return self._find(exec_id).record

    def exited(self, exec_id: str) -> Future[int]:
        """Done with the exit code when the process has ended and its record says so.

        A stream's end arrives on another way than the exit does: who promises his client that the
        exit code is there after the output waits for this.
        """
        source = self._find(exec_id).exited
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
        target = self._find(exec_id)
        with self._lock:
            if target.record.running or target.record.exit_code is not None:
                raise Conflict(f"exec command {exec_id} has already run")
            target.record = msgspec.structs.replace(target.record, running=True)
        container = self._table.find(target.record.container_id)
        try:
            _check_runs(container)
            return self._launch(target, container, detach, console_size)
        except BaseException as error:
            code = 127 if isinstance(error, CommandNotFound) else 126
            target.record = msgspec.structs.replace(target.record, running=False, exit_code=code)
            target.exited.set_result(code)
            raise

    def _launch(
        self,
        target: _Entry,
        container: Entry,
        detach: bool,
        console_size: tuple[int, int] | None,
    ) -> socket.socket | None:
        record, options = target.record, target.record.options
        with ExitStack() as stack:
            streams: tuple[socket.socket, socket.socket] | None = None
            if not detach:
                streams = socket.socketpair()
                stack.callback(streams[1].close)
            state_dir = os.path.join(
                self._settings.runtime_dir(record.container_id), "exec", record.id
            )
            request = self._request(record, container, state_dir, detach, console_size)
            fds = (streams[1].fileno(),) if streams else ()
            try:
                process = self._runtime.exec(request, fds)
            except BaseException:
                _remove_state_dir(state_dir)
                if streams:
                    streams[0].close()
                raise
        reach("exec.answered")
        target.process = process
        target.record = msgspec.structs.replace(record, running=True, pid=process.pid)
        self._events.container(
            f"exec_start: {' '.join(options.cmd)}", container.record, execID=record.id
        )
        process.on_exit(lambda status: self._ended(target, container, state_dir, status))
        return streams[0] if streams else None

    def _request(
        self,
        record: Exec,
        container: Entry,
        state_dir: str,
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
            state_dir=state_dir,
            process=msgspec.Raw(msgspec.json.encode(process)),
            open_stdin=options.attach_stdin and not detach,
            console_size=console_size or options.console_size,
            attach=not detach,
            attach_streams=(options.attach_stdin, options.attach_stdout, options.attach_stderr),
            external=external_runtime(self._settings, container.record),
            apart=shares_processes(container.record, self._table),
        )

    def _ended(self, target: _Entry, container: Entry, state_dir: str, status: ExitStatus) -> None:
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
        _remove_state_dir(state_dir)

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
