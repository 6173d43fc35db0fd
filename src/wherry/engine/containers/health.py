"""Health checks: HEALTHCHECK of an image, ``--health-cmd`` of a container.

A check runs as an exec in the container. The state begins as ``starting``, becomes ``healthy``
with the first success and ``unhealthy`` after ``retries`` failures in a row; failures in the start
period do not count, unless a success came first.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from socket import socket

import msgspec

from wherry.engine.containers.execs import Execs
from wherry.engine.containers.restart import Timers
from wherry.engine.events import Events
from wherry.engine.records import Container, ExecOptions, Health, HealthResult
from wherry.engine.table import ContainerTable, Entry
from wherry.engine.workers import Workers
from wherry.errors import InvalidArgument, WherryError
from wherry.model.image import HealthConfig

_SECOND = 10**9
_SHORTEST = 10**6
_DEFAULT_INTERVAL = _DEFAULT_TIMEOUT = 30 * _SECOND
_DEFAULT_START_INTERVAL = 5 * _SECOND
_DEFAULT_RETRIES = 3
_OUTPUT_LIMIT = 4096
_READ_LIMIT = 2 * _OUTPUT_LIMIT
"""With the heads of frames; a check that prints single bytes shows fewer of them."""
_FRAME_HEAD = 8
_KEPT_RESULTS = 5
_SHELL = ("/bin/sh", "-c")
_TIMED_OUT = -1
_EXIT_SECONDS = 5


def probe_command(record: Container) -> tuple[str, ...]:
    """What to execute; empty if the container has no health check."""
    check = record.config.healthcheck
    test = (check.test if check else None) or ()
    if not test or test[0] == "NONE":
        return ()
    if test[0] == "CMD-SHELL":
        return (*(record.config.shell or _SHELL), *test[1:2])
    return tuple(test[1:]) if test[0] == "CMD" else tuple(test)


def check_healthcheck(check: HealthConfig | None) -> None:
    """InvalidArgument, in Docker's words, for what no check can be run by."""
    if check is None:
        return
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value and value < _SHORTEST:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")


def next_health(
    health: Health, result: HealthResult, check: HealthConfig, started_ns: int
) -> Health:
    """The state after one more result. Pure."""
    log = (*health.log, result)[-_KEPT_RESULTS:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=log)
    in_start_period = result.end_ns - started_ns < check.start_period
    if health.status == "starting" and in_start_period:
        return msgspec.structs.replace(health, log=log)
    streak = health.failing_streak + 1
    failed = streak >= (check.retries or _DEFAULT_RETRIES)
    return Health(status="unhealthy" if failed else health.status, failing_streak=streak, log=log)


def next_interval(health: Health, check: HealthConfig, age_ns: int) -> int:
    """Nanoseconds until the next check."""
    if health.status == "starting" and age_ns < check.start_period:
        return check.start_interval or _DEFAULT_START_INTERVAL
    return check.interval or _DEFAULT_INTERVAL


class HealthMonitor:
    """Runs the checks of all containers, on a few threads of its own that start with the first."""

    def __init__(self, table: ContainerTable, execs: Execs, events: Events, timers: Timers) -> None:
        self._table = table
        self._execs = execs
        self._events = events
        self._timers = timers
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._cancel: dict[str, Callable[[], None]] = {}
        self._held_up: set[str] = set()  # containers whose check has not begun

    def begin(self, entry: Entry) -> None:
        """Called when a container has started, under its lock."""
        if not probe_command(entry.record):
            return
        with self._lock:
            if self._workers is None:
                self._workers = Workers(4, "health")
        self._set(entry, Health())
        self._schedule(entry, entry.generation)

    def end(self, entry: Entry) -> None:
        """Called when a container has ended, under its lock."""
        cancel = self._cancel.pop(entry.id, None)
        if cancel:
            cancel()

    def _schedule(self, entry: Entry, generation: int) -> None:
        state = entry.record.state
        check = entry.record.config.healthcheck
        if check is None or state.health is None:
            return
        wait = next_interval(state.health, check, time.time_ns() - state.started_ns)
        workers = self._workers
        if workers is not None:
            self._cancel[entry.id] = self._timers.after(
                wait / _SECOND, lambda: workers.submit(lambda: self._check(entry, generation))
            )

    def _check(self, entry: Entry, generation: int) -> None:
        if entry.generation != generation or entry.record.state.status == "exited":
            return
        if entry.record.state.status == "running":
            self._note(entry, generation, self._probe(entry.record))
        with entry.lock:
            if entry.generation == generation and entry.record.state.running:
                self._schedule(entry, generation)

    def _note(self, entry: Entry, generation: int, result: HealthResult) -> None:
        with entry.lock:
            state, check = entry.record.state, entry.record.config.healthcheck
            if entry.generation != generation or state.health is None or check is None:
                return
            health = next_health(state.health, result, check, state.started_ns)
            self._set(entry, health)
            if health.status != state.health.status:
                self._events.container(f"health_status: {health.status}", entry.record)

    def _set(self, entry: Entry, health: Health) -> None:
        self._table.set_state(entry, msgspec.structs.replace(entry.record.state, health=health))

    def _probe(self, record: Container) -> HealthResult:
        check = record.config.healthcheck
        timeout = (check.timeout if check else 0) or _DEFAULT_TIMEOUT
        started = time.time_ns()
        try:
            code, output = self._run(record, timeout / _SECOND)
        except (WherryError, TimeoutError) as error:
            code, output = _TIMED_OUT, str(error)
        return HealthResult(start_ns=started, end_ns=time.time_ns(), exit_code=code, output=output)

    def _run(self, record: Container, seconds: float) -> tuple[int, str]:
        options = ExecOptions(cmd=probe_command(record), attach_stdout=True, attach_stderr=True)
        if record.id in self._held_up:
            return _TIMED_OUT, timed_out(seconds, "")
        exec_id = self._execs.create(record.id, options)
        deadline = time.monotonic() + seconds
        stream = self._start(record.id, exec_id, seconds)
        if stream is None:
            return _TIMED_OUT, ""
        with stream:
            output, ended = _read_all(stream, deadline)
        text = unframed(output)[:_OUTPUT_LIMIT].decode(errors="replace")
        if not ended:
            self._execs.kill(exec_id, signal.SIGKILL)
            return _TIMED_OUT, timed_out(seconds, text)
        return self._execs.exited(exec_id).result(_EXIT_SECONDS), text

    def _start(self, container: str, exec_id: str, seconds: float) -> socket | None:
        """Start an exec in a thread of its own: a container can hold up what enters it, and so
        would have one of the few threads for all. TimeoutError if it has not begun in time."""
        begun: Future[socket | None] = Future()

        def start() -> None:
            try:
                stream = self._execs.start(exec_id, detach=False)
            except BaseException as error:  # noqa: BLE001 - who waits gets it
                self._held_up.discard(container)
                begun.set_exception(error)
            else:
                self._held_up.discard(container)
                begun.set_result(stream)

        self._held_up.add(container)
        threading.Thread(target=start, name="health-start", daemon=True).start()
        try:
            return begun.result(seconds)
        except TimeoutError:
            begun.add_done_callback(lambda late: self._give_up(exec_id, late))
            raise TimeoutError(timed_out(seconds, "")) from None

    def _give_up(self, exec_id: str, late: Future[socket | None]) -> None:
        """End one that has begun after all."""
        stream = None if late.exception() else late.result()
        if stream is not None:
            stream.close()
            with suppress(WherryError):
                self._execs.kill(exec_id, signal.SIGKILL)

    def close(self) -> None:
        if self._workers:
            self._workers.close()


def timed_out(seconds: float, output: str) -> str:
    """What is told of a check that took too long, in Docker's words."""
    shown = f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"
    return f"Health check exceeded timeout ({shown})" + (f": {output}" if output else "")


def unframed(data: bytes) -> bytes:
    """Output and errors, as they came, out of the frames of an exec without a terminal; the last
    frame may be cut off."""
    found = bytearray()
    place = 0
    while place + _FRAME_HEAD <= len(data):
        start = place + _FRAME_HEAD
        place = start + int.from_bytes(data[start - 4 : start], "big")
        found += data[start:place]
    return bytes(found)


def _read_all(stream: socket, deadline: float) -> tuple[bytes, bool]:
    """What is printed until the end or the deadline, and whether the end was reached."""
    output = bytearray()
    while (left := deadline - time.monotonic()) > 0:
        stream.settimeout(left)
        try:
            data = stream.recv(65536)
        except TimeoutError:
            break
        if not data:
            return bytes(output), True
        if len(output) < _READ_LIMIT:
            output += data
    return bytes(output), False
