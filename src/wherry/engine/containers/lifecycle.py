"""The life of a container: start, end, stop, kill, pause, restart, removal.

One lock for each container (``Entry.lock``) serialises what changes it. It is never held while
waiting for a process to end, because the end is recorded under the same lock, by a worker thread.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from wherry.cgroup.api import Cgroups
from wherry.engine.containers.launch import Launched, Launcher
from wherry.engine.containers.restart import Timers, next_delay, should_restart
from wherry.engine.events import Events
from wherry.engine.records import Container, State, Status, WaitResult
from wherry.engine.signals import parse_signal
from wherry.engine.table import ContainerTable, Entry
from wherry.engine.workers import Workers
from wherry.errors import Conflict, NotFound, NotModified, WherryError
from wherry.runtime.api import CommandNotExecutable, CommandNotFound, ExitStatus, Process
from wherry.sys.faults import reach

_LOG = logging.getLogger(__name__)
_STOP_SECONDS = 10
_KILL_SECONDS = 30


@dataclass
class _Restart:
    """A restart that is waiting for its time."""

    delay: float = 0.0
    cancel: Callable[[], None] = field(default=lambda: None)


class Lifecycle:
    """Moves containers from state to state."""

    def __init__(
        self,
        table: ContainerTable,
        launcher: Launcher,
        cgroups: Cgroups,
        events: Events,
        workers: Workers,
        timers: Timers,
    ) -> None:
        self._table = table
        self._launcher = launcher
        self._cgroups = cgroups
        self._events = events
        self._workers = workers
        self._timers = timers
        self._restarts: dict[str, _Restart] = {}
        self.remove_after_exit: Callable[[Entry], None] = lambda entry: None
        """Set by the wiring: removes an ``AutoRemove`` container."""
        self.after_start: Callable[[Entry], None] = lambda entry: None
        self.after_exit: Callable[[Entry], None] = lambda entry: None
        """Set by the wiring: health checks begin and end with the process."""

    # --- start -----------------------------------------------------------------------------

    def start(self, entry: Entry) -> None:
        """Start a container that does not run. NotModified, Conflict; see ContainerApi.start."""
        with entry.tree, entry.lock:
            state = entry.record.state
            if state.status == "paused":
                raise Conflict("cannot start a paused container, try unpause instead")
            if state.status == "running":
                raise NotModified("container is already running")
            if state.status in ("removing", "dead"):
                raise Conflict("container is marked for removal and cannot be started")
            self._cancel_restart(entry)
            entry.generation += 1
            record = msgspec.structs.replace(entry.record, stopped_by_user=False, restart_count=0)
            self._launch(entry, record)

    def _launch(self, entry: Entry, record: Container) -> None:
        try:
            launched = self._launcher.launch(record, entry.take_pending_attach())
        except Exception as error:
            self._start_failed(entry, record, error)
            raise
        running = _running(record, launched)
        try:
            self._table.save(entry, running)
        except WherryError as error:  # a full disk: nobody would know of it after a crash
            launched.process.close()
            self._launcher.clean_up(running)
            self._launcher.release(running)
            self._start_failed(entry, record, error)
            raise
        entry.process = launched.process
        reach("start.recorded")
        self._events.container("start", entry.record)
        self.after_start(entry)
        self.watch(entry, launched.process)

    def _start_failed(self, entry: Entry, record: Container, error: Exception) -> None:
        code = _start_failure_code(error)
        state = msgspec.structs.replace(
            record.state,
            status="created" if not record.state.started_ns else "exited",
            exit_code=code,
            error=str(error),
            pid=0,
        )
        self._save_if_possible(entry, msgspec.structs.replace(record, state=state))
        # Without the sentence: who waits is who asked for the start, and has it already.
        entry.waiters.exited(WaitResult(exit_code=code))
        if record.host.auto_remove:
            self._workers.submit(lambda: self.remove_after_exit(entry))

    def _save_if_possible(self, entry: Entry, record: Container) -> bool:
        """Take notice of what is so, even if a full disk keeps it from being written down."""
        try:
            self._table.save(entry, record)
        except WherryError as error:
            _LOG.error("container %s: %s", record.name, error)
            entry.record = record
            return False
        return True

    def watch(self, entry: Entry, process: Process) -> None:
        """Take notice of the end of a process that was started or adopted."""
        generation = entry.generation

        def ended(status: ExitStatus) -> None:
            self._workers.submit(lambda: self._ended(entry, generation, status))

        process.on_exit(ended)

    # --- end -------------------------------------------------------------------------------

    def _ended(self, entry: Entry, generation: int, status: ExitStatus) -> None:
        with entry.lock:
            if entry.generation != generation or entry.process is None:
                return
            reach("exit.heard")
            entry.process.close()
            entry.process = None
            self.record_exit(entry, status)
        if entry.record.host.auto_remove and entry.record.state.status == "exited":
            self.remove_after_exit(entry)

    def record_exit(self, entry: Entry, status: ExitStatus) -> None:
        """Write down that a container ended, free what it had, and decide what follows.

        Called under the entry's lock.
        """
        self.after_exit(entry)
        record = entry.record
        ran_ns = max(0, status.finished_ns - record.state.started_ns)
        again = should_restart(record, status.code)
        state = msgspec.structs.replace(
            record.state,
            status="restarting" if again else "exited",
            pid=0,
            exit_code=status.code,
            oom_killed=status.oom_killed,
            finished_ns=status.finished_ns,
            error="",
        )
        # The ports are free before anybody learns that the container has ended.
        try:
            self._launcher.release_network(record)
        except WherryError as error:  # a full disk; the next engine finds what is left
            _LOG.error("container %s: %s", record.name, error)
        reach("exit.released")
        ended = msgspec.structs.replace(record, state=state, endpoints={}, ports=())
        if self._save_if_possible(entry, ended):
            reach("exit.recorded")
            self._launcher.forget(record.id)  # and with it the monitor's record of the end
        if status.oom_killed:
            self._events.container("oom", ended)
        seconds = str(ran_ns // 10**9)
        self._events.container("die", ended, exitCode=str(status.code), execDuration=seconds)
        result = WaitResult(exit_code=status.code)
        entry.waiters.exited(result)
        if again:
            self._schedule_restart(entry, ran_ns)
        else:
            self._restarts.pop(entry.id, None)

    def _schedule_restart(self, entry: Entry, ran_ns: int) -> None:
        restart = self._restarts.setdefault(entry.id, _Restart())
        restart.delay = next_delay(restart.delay, ran_ns)
        self._restart_later(entry, restart)

    def _restart_later(self, entry: Entry, restart: _Restart) -> None:
        generation = entry.generation
        restart.cancel = self._timers.after(
            restart.delay, lambda: self._workers.submit(lambda: self._again(entry, generation))
        )

    def _again(self, entry: Entry, generation: int) -> None:
        # Somebody may be reading its files, and a worker has others to serve.
        if not entry.tree.acquire(blocking=False):
            self._put_off(entry, generation)
            return
        try:
            self._start_again(entry, generation)
        finally:
            entry.tree.release()

    def _put_off(self, entry: Entry, generation: int) -> None:
        with entry.lock:
            restart = self._restarts.get(entry.id)
            if restart and entry.generation == generation:
                self._restart_later(entry, restart)

    def _start_again(self, entry: Entry, generation: int) -> None:
        with entry.lock:
            record = entry.record
            if entry.generation != generation or record.state.status != "restarting":
                return
            entry.generation += 1
            record = msgspec.structs.replace(record, restart_count=record.restart_count + 1)
            try:
                self._launch(entry, record)
            except WherryError as error:
                _LOG.warning("container %s could not be restarted: %s", record.name, error)

    def _cancel_restart(self, entry: Entry) -> None:
        restart = self._restarts.pop(entry.id, None)
        if restart:
            restart.cancel()

    # --- stop, kill ------------------------------------------------------------------------

    def stop(self, entry: Entry, timeout: int | None, signal_name: str) -> None:
        """Ask, wait, kill. Blocks until the end is recorded; NotModified if it does not run."""
        record = entry.record
        number = parse_signal(signal_name or record.config.stop_signal or "", signal.SIGTERM)
        if timeout is None:
            timeout = record.config.stop_timeout
        seconds = _STOP_SECONDS if timeout is None else timeout
        ended = self._signal_to_end(entry, number)
        if ended is None:
            return
        if not _within(ended, None if seconds < 0 else seconds):
            self._signal_if_running(entry, signal.SIGKILL)
            self._events.container("kill", entry.record, signal=str(int(signal.SIGKILL)))
            if not _within(ended, _KILL_SECONDS):
                raise Conflict(f"container {record.name} did not end after SIGKILL")
        self._events.container("stop", entry.record)

    def _signal_to_end(self, entry: Entry, number: int) -> Future[WaitResult] | None:
        """Send the first signal of a stop; None if a pending restart was all there was to end."""
        with entry.lock:
            state = entry.record.state
            if not state.running:
                raise NotModified("container is already stopped")
            record = msgspec.structs.replace(entry.record, stopped_by_user=True)
            self._save_if_possible(entry, record)
            if state.status == "restarting":
                self._end_restarting(entry)
                return None
            ended = entry.waiters.add("not-running")
            self._thaw(entry)
            self._signal_if_running(entry, number)
            reach("stop.signalled")
            self._events.container("kill", record, signal=str(number))
            return ended

    def _end_restarting(self, entry: Entry) -> None:
        self._cancel_restart(entry)
        entry.generation += 1
        state = msgspec.structs.replace(entry.record.state, status="exited")
        self._table.set_state(entry, state)
        entry.waiters.exited(WaitResult(exit_code=state.exit_code))

    def _thaw(self, entry: Entry) -> None:
        if entry.record.state.status == "paused":
            self._cgroups.open(self._launcher.cgroup_path(entry.record)).thaw()
            state = msgspec.structs.replace(entry.record.state, status="running")
            self._save_if_possible(entry, msgspec.structs.replace(entry.record, state=state))

    def _signal_if_running(self, entry: Entry, number: int) -> None:
        process = entry.process
        if process:
            # It may end between the look and the signal, which is what was wanted.
            with suppress(Conflict):
                process.signal(number)

    def kill(self, entry: Entry, signal_name: str) -> None:
        """Send one signal; after SIGKILL, wait until the end is recorded. Conflict if the container
        does not run."""
        number = parse_signal(signal_name, signal.SIGKILL)
        ended = self._send(entry, number)
        if ended is not None and not _within(ended, _KILL_SECONDS):
            raise Conflict(f"container {entry.record.name} did not end after SIGKILL")

    def _send(self, entry: Entry, number: int) -> Future[WaitResult] | None:
        """Send one signal; the end that follows SIGKILL."""
        with entry.lock:
            record = entry.record
            if record.state.status == "restarting" and _ends_for_good(record, number):
                self._table.save(entry, msgspec.structs.replace(record, stopped_by_user=True))
                self._end_restarting(entry)
                return None
            if record.state.status == "restarting" or entry.process is None:
                raise Conflict(
                    f"cannot kill container: {record.name}: container {record.id} is not running"
                )
            if _ends_for_good(record, number):
                self._table.save(entry, msgspec.structs.replace(record, stopped_by_user=True))
            ended = entry.waiters.add("next-exit") if number == signal.SIGKILL else None
            entry.process.signal(number)
            if number == signal.SIGKILL:
                self._thaw(entry)
            self._events.container("kill", entry.record, signal=str(number))
            return ended

    def end_now(self, entry: Entry) -> None:
        """SIGKILL and wait, for a forced removal. Does nothing if the container does not run."""
        with suppress(NotModified):
            ended = self._signal_to_end(entry, signal.SIGKILL)
            if ended is not None and not _within(ended, _KILL_SECONDS):
                raise Conflict(f"container {entry.record.name} did not end after SIGKILL")

    # --- pause -----------------------------------------------------------------------------

    def pause(self, entry: Entry) -> None:
        with entry.lock:
            record = entry.record
            if record.state.status == "paused":
                raise Conflict(f"Container {record.id} is already paused")
            if record.state.status != "running":
                raise Conflict(f"Container {record.id} is not running")
            try:
                self._cgroups.open(self._launcher.cgroup_path(record)).freeze()
            except (FileNotFoundError, NotFound):
                raise Conflict(f"Container {record.id} is not running") from None
            reach("pause.frozen")
            try:
                self._table.set_state(entry, msgspec.structs.replace(record.state, status="paused"))
            except WherryError:  # a full disk: nobody would think of letting it go on
                self._launcher.cgroup(record).thaw()
                raise
            self._events.container("pause", entry.record)

    def look_whether_paused(self, entry: Entry) -> None:
        """Make the record agree with the group: an engine was killed between the two."""
        record = entry.record
        with suppress(NotFound, FileNotFoundError):
            frozen = self._launcher.cgroup(record).frozen()
            if frozen != (record.state.status == "paused"):
                status: Status = "paused" if frozen else "running"
                self._table.set_state(entry, msgspec.structs.replace(record.state, status=status))

    def unpause(self, entry: Entry) -> None:
        with entry.lock:
            if entry.record.state.status != "paused":
                raise Conflict(f"Container {entry.record.id} is not paused")
            self._thaw(entry)
            self._events.container("unpause", entry.record)


def _start_failure_code(error: Exception) -> int:
    if isinstance(error, CommandNotFound):
        return 127
    return 126 if isinstance(error, CommandNotExecutable) else 128


def _running(record: Container, launched: Launched) -> Container:
    process = launched.process
    return msgspec.structs.replace(
        record,
        state=State(status="running", pid=process.pid, started_ns=time.time_ns(), health=None),
        endpoints=launched.endpoints,
        ports=launched.ports,
        apparmor_profile=launched.apparmor_profile,
        created_mountpoints=_union(record.created_mountpoints, process.created_mountpoints),
    )


def _union(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*old, *new)))


def _within(future: Future[WaitResult], seconds: float | None) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


def _ends_for_good(record: Container, number: int) -> bool:
    """Docker counts a kill with the stop signal or SIGKILL as the user's wish to stop."""
    return number in (signal.SIGKILL, parse_signal(record.config.stop_signal or ""))
