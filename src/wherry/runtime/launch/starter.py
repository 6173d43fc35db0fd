"""The starter: takes one request, starts its process, gives it to the monitor, and exits.

Starting touches far more memory than looking after a process does. It is done here, in a child of
the monitor that is gone afterwards, so that the monitor's own memory stays small.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial

import msgspec

from wherry.errors import InternalError, InvalidArgument
from wherry.model.runtime_spec import Hooks, Linux, Process, Spec
from wherry.runtime import state
from wherry.runtime.api import ExecRequest, ExternalRuntime, LogSettings, StartRequest
from wherry.runtime.documents import read_spec
from wherry.runtime.hooks import run_hooks
from wherry.runtime.host import Host
from wherry.runtime.launch.outset import (
    OpenedExec,
    Streams,
    decode_process,
    listen_in,
    open_container,
    open_exec,
    open_state_dir,
    open_streams,
    write_record,
)
from wherry.runtime.launch.premade import with_premade
from wherry.runtime.launch.ready import Stock, plan_start
from wherry.runtime.launch.spawn import Child
from wherry.runtime.launch.ways import Begun, C, OwnWay, Passed, ReadyWay, Way
from wherry.runtime.logs.first_try import check_log
from wherry.runtime.messages import (
    NOT_NEEDED,
    Exec,
    Keep,
    Start,
    Started,
    ToLauncher,
    encode,
    failure,
    send,
    send_packet,
)
from wherry.runtime.monitor.memory_kills import follow_kills
from wherry.runtime.plan.planning import Plan, cgroup_path
from wherry.sys.faults import reach


def serve(
    message: ToLauncher,
    fds: list[int],
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
    stock: Stock,
) -> OpenedExec | None:
    """Do what a request asks and tell the monitor; the engine hears of a failure from here.

    Returns an exec that has not begun: this process is to serve it, and those that come after it.

    ``taken`` is called when there is time to tell the launcher: to fork the next pair takes as
    much of a processor as the start itself. An init in ``stock`` was offered the request.
    """
    if not fds:
        return None
    reach("starter.taken")
    connection = socket.socket(fileno=fds[0])
    try:
        if isinstance(message, Start):
            _start(message.request, fds[1:], connection, monitor, host, taken, stock)
        else:
            _let_go(stock, monitor)
            return _exec(message, fds[1:], connection, monitor, host, taken)
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
        send(connection, failure(error))
    return None


def _start(
    request: StartRequest,
    fds: list[int],
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
    stock: Stock,
) -> None:
    if len(fds) < request.attach + request.netns:
        raise InvalidArgument("a descriptor that the request names was not passed")
    client = tuple(fds[: request.attach])
    rest = fds[len(client) :]
    netns = rest.pop(0) if request.netns else None
    passed = Passed(client, netns, tuple(rest))
    if request.external is not None:
        _let_go(stock, monitor)
        spec = read_spec(request.bundle)
        _start_elsewhere(request, spec, passed, connection, monitor, host, taken)
        return

    def choose() -> tuple[Plan, Way[Child]]:
        init = stock.init
        plan = init.answer(host) if init is not None else None
        if init is not None and plan is not None:
            return plan, ReadyWay(plan, init.child, host)
        if init is not None:
            _let_go(stock, monitor)
        plan = with_premade(plan_start(request, host), stock.mounts)
        return plan, OwnWay(plan, passed, host, partial(_reap, monitor), existing=False)

    try:
        _run(choose, request, passed, connection, monitor, host, taken)
    except BaseException:
        if stock.init is not None:
            stock.init.end()  # it may not even have been waited for
        raise


def _let_go(stock: Stock, monitor: socket.socket) -> None:
    """Let an init end, and its monitor reap it: something else is started."""
    stock.close()
    if stock.init is not None:
        _reap(monitor, stock.init.child.pid)


def _reap(monitor: socket.socket, pid: int) -> None:
    """Have the monitor reap a child of its that ends before there is anything to look after."""
    send_packet(monitor, NOT_NEEDED + b"%d" % pid, ())


def _exec(
    message: Exec,
    fds: list[int],
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
) -> OpenedExec | None:
    request = message.request
    if len(fds) < request.attach + message.serve:
        raise InvalidArgument("a descriptor that the request names was not passed")
    client, rest = tuple(fds[: request.attach]), tuple(fds[request.attach :])
    if request.external is not None:
        record, _ = open_container(request, host)
        passed = Passed(client, None, rest)
        _exec_elsewhere(request, record, passed, connection, monitor, host, taken)
        return None
    opened = open_exec(request, host)
    if message.serve:
        if opened.plan.enterable:
            connection.detach()
            return opened
        os.close(rest[-1])
        rest = rest[:-1]
    passed = Passed(client, None, rest, opened.container)
    way = OwnWay(opened.plan, passed, host, partial(_reap, monitor), existing=True)
    _run(lambda: (opened.plan, way), request, passed, connection, monitor, host, taken)
    return None


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
    from wherry.runtime.launch import external

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
        linux=spec.linux or Linux(),
        process=spec.process or Process(cwd="/"),
    )
    way = external.ExternalWay(plan, request, runtime, passed.netns)
    _run(lambda: (plan, way), request, passed, connection, monitor, host, taken)


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
    from wherry.runtime.launch import external

    runtime = _external(request)
    plan = external.plan_external(
        request,
        runtime,
        container_id=request.container_id,
        bundle=record.bundle,
        cgroup=record.cgroup,
        linux=read_spec(record.bundle).linux or Linux(),
        process=decode_process(request),
    )
    way = external.ExternalWay(plan, request, runtime, None)
    _run(lambda: (plan, way), request, passed, connection, monitor, host, taken)


def _external(request: StartRequest | ExecRequest) -> ExternalRuntime:
    if request.external is None:
        raise InternalError("no other runtime was named")
    return request.external


def _run(
    choose: Callable[[], tuple[Plan, Way[C]]],
    request: StartRequest | ExecRequest,
    passed: Passed,
    connection: socket.socket,
    monitor: socket.socket,
    host: Host,
    taken: Callable[[], None],
) -> None:
    """Start the process and hand it over; after an error nothing of it is left.

    ``choose`` says how, perhaps not at once.
    """
    if isinstance(request, StartRequest):
        _check_log(request.log, taken)
    directory, made = open_state_dir(request.state_dir)
    try:
        plan, way = choose()
        reach("starter.planned")
        if plan.hooks != Hooks():
            taken()  # nobody is to wait for another's hooks
        streams = Streams() if plan.terminal else open_streams(request.open_stdin)
        child = way.begin(streams.theirs, directory)
        reach("starter.cloned")

        def meanwhile() -> tuple[socket.socket, list[int]]:
            for fd in streams.theirs or ():
                os.close(fd)
            write_record(directory, request, plan, child, host)
            reach("starter.recorded")
            return listen_in(directory), _follow_kills(request, plan, host)

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
            send_packet(monitor, bytes([len(watched)]) + keep, [*watched, *others])
            reach("starter.handed")
        except BaseException:
            way.abandon(child)
            raise
    except BaseException:
        state.forget(directory)
        if made:
            os.rmdir(request.state_dir)
        raise


def _check_log(log: LogSettings, taken: Callable[[], None]) -> None:
    if log.remote is not None:
        taken()  # nobody is to wait for another's logging service
    check_log(log)


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
