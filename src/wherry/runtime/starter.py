"""The starter: takes one request, starts its process, gives it to the monitor, and exits.

Starting touches far more memory than looking after a process does. It is done here, in a child of
the monitor that is gone afterwards, so that the monitor's own memory stays small.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import msgspec

from wherry.errors import Conflict, InternalError, InvalidArgument
from wherry.model.runtime_spec import Hooks, Process, Spec
from wherry.runtime import state
from wherry.runtime.api import ExecRequest, ExternalRuntime, LogSettings, StartRequest
from wherry.runtime.documents import decode, read_spec
from wherry.runtime.entering import EnteringWay
from wherry.runtime.hooks import run_hooks
from wherry.runtime.host import Host
from wherry.runtime.logs.first_try import check_log
from wherry.runtime.memory_kills import follow_kills
from wherry.runtime.messages import (
    Keep,
    Start,
    Started,
    ToLauncher,
    encode,
    failure,
    send,
    send_packet,
)
from wherry.runtime.plan import Plan, cgroup_path, plan_exec
from wherry.runtime.ready import ReadyInit, plan_start
from wherry.runtime.spawn import Child
from wherry.runtime.ways import Begun, C, OwnWay, Passed, ReadyWay, Way
from wherry.sys.faults import reach

spec_decoder = msgspec.json.Decoder(Spec)
process_decoder = msgspec.json.Decoder(Process)


class Streams(msgspec.Struct, frozen=True):
    """The two ends of the standard streams; none before a terminal is opened."""

    theirs: tuple[int, int, int] | None = None
    outputs: tuple[int, ...] = ()
    stdin: tuple[int, ...] = ()  # one or none


def serve(
    message: ToLauncher,
    fds: list[int],
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
    init: ReadyInit | None,
) -> None:
    """Do what a request asks and tell the monitor; the engine hears of a failure from here.

    ``taken`` is called when there is time to tell the launcher: to fork the next pair takes as
    much of a processor as the start itself. ``init`` is one that a container can be started with.
    """
    if not fds:
        return
    reach("starter.taken")
    connection = socket.socket(fileno=fds[0])
    try:
        if isinstance(message, Start):
            _start(message.request, fds[1:], connection, monitor, host, taken, init)
        else:
            _let_go(init)
            _exec(message.request, fds[1:], connection, monitor, host, taken)
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
        send(connection, failure(error))


def _start(
    request: StartRequest,
    fds: list[int],
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
    init: ReadyInit | None,
) -> None:
    if len(fds) < request.attach + request.netns:
        raise InvalidArgument("a descriptor that the request names was not passed")
    client = tuple(fds[: request.attach])
    rest = fds[len(client) :]
    netns = rest.pop(0) if request.netns else None
    if request.log.remote is not None:
        taken()  # nobody is to wait for another's logging service
    check_log(request.log)
    passed = Passed(client, netns, tuple(rest))
    if request.external is not None:
        _let_go(init)
        spec = read_spec(request.bundle)
        _start_elsewhere(request, spec, passed, connection, monitor, host, taken)
        return
    plan = init.ask(request, netns, host) if init is not None else None
    way: Way[Child]
    if init is not None and plan is not None:
        way = ReadyWay(plan, init.child(), host)
    else:
        _let_go(init)
        plan = plan_start(request, host)
        way = OwnWay(plan, passed, host, existing=False)
    _run(plan, request, passed, connection, monitor, host, taken, way)


def _let_go(init: ReadyInit | None) -> None:
    if init is not None:
        init.close()


def _exec(
    request: ExecRequest,
    fds: list[int],
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
) -> None:
    if len(fds) < request.attach:
        raise InvalidArgument("the descriptor of the attached client was not passed")
    record, pidfd = open_container(request, host)
    if request.external is not None:
        client, rest = tuple(fds[: request.attach]), tuple(fds[request.attach :])
        _exec_elsewhere(
            request, record, Passed(client, None, rest), connection, monitor, host, taken
        )
        return
    plan = plan_exec(
        _decode_process(request),
        read_spec(record.bundle),
        request.container_id,
        record.bundle,
        cgroup=record.cgroup,
        layout=host.layout,
        filters=host.filters,
        console_size=request.console_size,
        container_pid=record.pid,
    )
    passed = Passed(tuple(fds[: request.attach]), None, tuple(fds[request.attach :]), pidfd)
    way: Way[Child] = (
        EnteringWay(plan, passed, host)
        if plan.enterable
        else OwnWay(plan, passed, host, existing=True)
    )
    _run(plan, request, passed, connection, monitor, host, taken, way)


def _start_elsewhere(
    request: StartRequest,
    spec: Spec,
    passed: Passed,
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
) -> None:
    """Start a container with another runtime."""
    from wherry.runtime import external

    external.check_external(spec)
    runtime = _external(request)
    plan = external.plan_external(
        request,
        runtime,
        container_id=request.id,
        bundle=request.bundle,
        cgroup=cgroup_path(
            spec.linux.cgroups_path if spec.linux else "",
            request.id,
            msgspec.structs.replace(host.layout, systemd=request.systemd_cgroup),
        ),
        terminal=spec.process is not None and spec.process.terminal,
    )
    way = external.ExternalWay(plan, request, runtime, passed.netns)
    _run(plan, request, passed, connection, monitor, host, taken, way)


def _exec_elsewhere(
    request: ExecRequest,
    record: state.ProcessState,
    passed: Passed,
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
) -> None:
    """Start a process in a container of another runtime."""
    from wherry.runtime import external

    runtime = _external(request)
    plan = external.plan_external(
        request,
        runtime,
        container_id=request.container_id,
        bundle=record.bundle,
        cgroup=record.cgroup,
        terminal=_decode_process(request).terminal,
    )
    way = external.ExternalWay(plan, request, runtime, None)
    _run(plan, request, passed, connection, monitor, host, taken, way)


def _external(request: StartRequest | ExecRequest) -> ExternalRuntime:
    if request.external is None:
        raise InternalError("no other runtime was named")
    return request.external


def _run(
    plan: Plan,
    request: StartRequest | ExecRequest,
    passed: Passed,
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
    way: Way[C],
) -> None:
    """Start the process and hand it over; after an error nothing of it is left."""
    reach("starter.planned")
    if plan.hooks != Hooks():
        taken()  # nobody is to wait for another's hooks
    directory, made = _state_dir(request.state_dir)
    try:
        streams = Streams() if plan.terminal else open_streams(request.open_stdin)
        child = way.begin(streams.theirs, directory)
        reach("starter.cloned")

        def meanwhile() -> tuple[socket.socket, list[int]]:
            for fd in streams.theirs or ():
                os.close(fd)
            _record(directory, request, plan, child, host)
            reach("starter.recorded")
            return _listen(directory), _follow_kills(request, plan, host)

        listener, kills = way.complete(child, meanwhile)
        try:
            reach("starter.executed")
            _poststart(plan, child)
            _tell(connection, Started(child.pid, child.created_mountpoints))
            reach("starter.told")
            taken()
            watched, others = _descriptors(
                connection, child, listener, directory, streams, passed, kills
            )
            keep = encode(_keep(plan, request, child, streams, passed, way.kill, kills))
            head = bytes([len(watched), isinstance(way, ReadyWay)])
            send_packet(monitor, head + keep, [*watched, *others])
            reach("starter.handed")
        except BaseException:
            way.abandon(child)
            raise
    except BaseException:
        state.forget(directory)
        if made:
            os.rmdir(request.state_dir)
        raise


def _tell(connection: socket.socket, started: Started) -> None:
    try:
        send(connection, started)
    except OSError:
        pass  # the engine has gone; the next one will take the process up


def _descriptors(
    connection: socket.socket,
    child: Begun,
    listener: socket.socket,
    directory: int,
    streams: Streams,
    passed: Passed,
    kills: list[int],
) -> tuple[list[int], list[int]]:
    """What the monitor gets: those to watch, and the others."""
    outputs = streams.outputs if child.master_fd is None else (child.master_fd,)
    watched = [child.pidfd, connection.fileno(), listener.fileno(), *outputs, *passed.client]
    watched += kills[:1]
    return watched, [directory, *streams.stdin, *kills[1:], *passed.held]


def _follow_kills(request: StartRequest | ExecRequest, plan: Plan, host: Host) -> list[int]:
    """What tells of kills for lack of memory in a group that systemd removes at its end."""
    if not isinstance(request, StartRequest) or not request.systemd_cgroup:
        return []
    return follow_kills(host.cgroups.open(plan.cgroup))


def _listen(directory: int) -> socket.socket:
    """Listen in the state directory, whose path may be longer than a socket's may be."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"/proc/self/fd/{directory}/{state.SOCKET}")
    listener.listen(4)
    return listener


def _keep(
    plan: Plan,
    request: StartRequest | ExecRequest,
    child: Begun,
    streams: Streams,
    passed: Passed,
    kill: tuple[str, ...],
    kills: list[int],
) -> Keep:
    container = isinstance(request, StartRequest)
    return Keep(
        pid=child.pid,
        created_mountpoints=child.created_mountpoints,
        terminal=plan.terminal,
        stdin=bool(streams.stdin),
        stdin_once=request.stdin_once if isinstance(request, StartRequest) else True,
        attach=bool(passed.client),
        attach_streams=request.attach_streams,
        log=request.log if isinstance(request, StartRequest) else LogSettings(driver="none"),
        cgroup=plan.cgroup if container else "",
        alone=plan.own_pids,
        poststop=plan.hooks.poststop if container else (),
        state=plan.state,
        kill=kill,
        follow_kills=bool(kills),
    )


def _poststart(plan: Plan, child: Begun) -> None:
    if plan.hooks.poststart:
        running = msgspec.structs.replace(plan.state, pid=child.pid, status="running")
        run_hooks(plan.hooks.poststart, running, "poststart")


def _state_dir(path: str) -> tuple[int, bool]:
    """Open the monitor's directory, and whether it had to be made."""
    if not os.path.isabs(path):
        raise InvalidArgument(f"the state directory {path!r} is not absolute")
    made = False
    try:
        os.mkdir(path, 0o700)
        made = True
    except FileExistsError:
        pass
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not made:
        state.forget(directory)
    return directory, made


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


def _record(
    directory: int, request: StartRequest | ExecRequest, plan: Plan, child: Begun, host: Host
) -> None:
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


def _decode_process(request: ExecRequest) -> Process:
    what = f"the process of exec {request.id} is malformed"
    return decode(process_decoder, request.process, what)
