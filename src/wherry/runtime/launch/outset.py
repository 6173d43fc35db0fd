"""What a process begins with, whoever starts it: its state directory, its streams, its record."""

from __future__ import annotations

import os
import select
import socket
import time

import msgspec

from wherry.errors import Conflict, InternalError, InvalidArgument
from wherry.model.runtime_spec import Process, Spec
from wherry.runtime import state
from wherry.runtime.api import ExecRequest, StartRequest
from wherry.runtime.documents import decode, read_spec
from wherry.runtime.host import Host
from wherry.runtime.launch.ways import Begun
from wherry.runtime.plan.planning import Plan, plan_exec

process_decoder = msgspec.json.Decoder(Process)


class Streams(msgspec.Struct, frozen=True):
    """The two ends of the standard streams; none before a terminal is opened."""

    theirs: tuple[int, int, int] | None = None
    outputs: tuple[int, ...] = ()
    stdin: tuple[int, ...] = ()  # one or none


def open_state_dir(path: str) -> tuple[int, bool]:
    """Open the monitor's directory, and whether it had to be made."""
    if not os.path.isabs(path):
        raise InvalidArgument(f"the state directory {path!r} is not absolute")
    made = False
    try:
        _make(path)
        made = True
    except FileExistsError:
        pass
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not made:
        state.forget(directory)
    return directory, made


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:  # the first exec in a run, whose own directory is not made again
        try:
            os.mkdir(os.path.dirname(path), 0o700)
        except FileExistsError:
            pass  # another one was faster
        except FileNotFoundError:
            raise Conflict("the container has ended") from None
        os.mkdir(path, 0o700)


def open_streams(open_stdin: bool) -> Streams:
    """Pipes, and /dev/null where nobody types."""
    output, output_write = os.pipe()
    errors, errors_write = os.pipe()
    stdin: tuple[int, ...] = ()
    if open_stdin:
        stdin_read, stdin_write = os.pipe()
        stdin = (stdin_write,)
    else:
        stdin_read = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    return Streams((stdin_read, output_write, errors_write), (output, errors), stdin)


def listen_in(directory: int) -> socket.socket:
    """Listen in the state directory, whose path may be longer than a socket's may be."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"/proc/self/fd/{directory}/{state.SOCKET}")
    listener.listen(4)
    return listener


def write_record(
    directory: int, request: StartRequest | ExecRequest, plan: Plan, child: Begun, host: Host
) -> None:
    """Write down which process the state directory is of."""
    ticks = state.start_time_ticks(child.pid)
    if ticks is None:
        raise InternalError("the container's set-up disappeared")
    record = state.ProcessState(
        id=request.id,
        pid=child.pid,
        start_time_ticks=ticks,
        boot_id=host.boot_id,
        bundle=plan.bundle,
        cgroup=plan.cgroup,
        owns_cgroup=isinstance(request, StartRequest),
        created_ns=time.time_ns(),
    )
    state.write_state(directory, record)


def open_container(request: ExecRequest, host: Host) -> tuple[state.ProcessState, int]:
    """The state of the container that an exec goes into and a pidfd of its first process.

    Conflict if it does not run; the pidfd is checked against the recorded time of its start, so
    that another process that got its number is never entered.
    """
    ended = Conflict(f"Container {request.container_id} is not running")
    record = state.read_state(request.container_state_dir)
    if record is None or record.boot_id != host.boot_id or record.pid != request.container_pid:
        raise ended
    try:
        pidfd = os.pidfd_open(record.pid)
    except ProcessLookupError:
        raise ended from None
    if state.start_time_ticks(record.pid) != record.start_time_ticks:
        os.close(pidfd)
        raise ended
    return record, pidfd


def decode_process(request: ExecRequest) -> Process:
    """What an exec asks to be executed; InvalidArgument."""
    what = f"the process of exec {request.id} is malformed"
    return decode(process_decoder, request.process, what)


class OpenedExec(msgspec.Struct, frozen=True):
    """An exec and its container, which runs: how that was started, its configuration, a pidfd of
    its first process; the process as it was asked for, and what is to be done."""

    record: state.ProcessState
    spec: Spec
    container: int
    process: bytes
    plan: Plan


def open_exec(request: ExecRequest, host: Host) -> OpenedExec:
    """Find the container and plan; errors as for :func:`open_container`, InvalidArgument."""
    record, container = open_container(request, host)
    try:
        spec = read_spec(record.bundle)
        plan = _plan(request, record, spec, host)
        return OpenedExec(record, spec, container, bytes(request.process), plan)
    except BaseException:
        os.close(container)
        raise


def open_another(request: ExecRequest, host: Host, known: OpenedExec) -> OpenedExec | None:
    """The same for one more exec, with the pidfd of the ``known`` one; None if the container has
    ended, or is another one now. InvalidArgument.

    Nothing of the container need be read again, and nothing planned if the process is the same, as
    those that look after a container's health are.
    """
    if request.container_pid != known.record.pid or has_ended(known.container):
        return None
    process = bytes(request.process)
    if process == known.process:
        return known
    plan = _plan(request, known.record, known.spec, host)
    return OpenedExec(known.record, known.spec, known.container, process, plan)


def has_ended(pidfd: int) -> bool:
    """Whether a process has, reaped or not."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _plan(request: ExecRequest, record: state.ProcessState, spec: Spec, host: Host) -> Plan:
    return plan_exec(
        decode_process(request),
        spec,
        request.container_id,
        record.bundle,
        cgroup=record.cgroup,
        layout=host.layout,
        filters=host.filters,
        console_size=request.console_size,
        container_pid=record.pid,
    )
