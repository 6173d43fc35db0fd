"""A monitor's beginning: start the process, answer the engine, then serve."""

from __future__ import annotations

import os
import signal
import socket
import time

import msgspec

from wherry.cgroup import open_cgroups
from wherry.cgroup.api import Cgroups
from wherry.cgroup.mounts import read_layout
from wherry.errors import Conflict, InternalError, InvalidArgument
from wherry.runtime import state
from wherry.runtime.api import ExecRequest, StartRequest
from wherry.runtime.hooks import run_hooks
from wherry.runtime.logs.writer import open_writer
from wherry.runtime.messages import failure, send
from wherry.runtime.monitor import Monitor, Streams
from wherry.runtime.plan import CgroupLayout, Plan
from wherry.runtime.spawn import Child, Group, handshake, spawn

CGROUPS = "/sys/fs/cgroup"


class Host(msgspec.Struct, frozen=True):
    """What the launcher found out once about the machine."""

    cgroups: Cgroups
    layout: CgroupLayout
    boot_id: str


def find_host() -> Host:
    """Look at the machine; NotSupported if it has no control groups."""
    found = read_layout(CGROUPS)
    layout = CgroupLayout(found.mode == "unified", tuple(one.mountpoint for one in found.legacy))
    return Host(open_cgroups(CGROUPS), layout, state.boot_id())


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose plan is made and whose descriptors are told apart."""

    plan: Plan
    request: StartRequest | ExecRequest
    attach_fd: int | None = None
    netns_fd: int | None = None
    container_pidfd: int | None = None


def run(job: Job, connection: socket.socket, host: Host) -> None:
    """Be a monitor. Answers Started or Failed on ``connection``; returns at its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.dup2(0, 2)  # the engine's standard error is not kept open
    try:
        monitor = _start(job, host)
    except Exception as error:  # noqa: BLE001 - whatever it is, the engine is to know
        send(connection, failure(error))
        return
    if job.attach_fd is not None:
        client = socket.socket(fileno=job.attach_fd)
        monitor.attach(client, *job.request.attach_streams)
    monitor.connect(connection)
    del connection, job
    monitor.run()


def _start(job: Job, host: Host) -> Monitor:
    """Start the process; after an error nothing of it is left."""
    request = job.request
    directory, made = _state_dir(request.state_dir)
    group = Group(host.cgroups, job.plan, existing=isinstance(request, ExecRequest))
    try:
        child, streams = _start_child(job, host, group, directory)
        try:
            return _monitor(job, group, child, streams, directory)
        except BaseException:
            child.kill()
            group.abandon()
            raise
    except BaseException:
        state.forget(directory)
        if made:
            os.rmdir(request.state_dir)
        raise


def _start_child(job: Job, host: Host, group: Group, directory: int) -> tuple[Child, Streams]:
    plan = job.plan
    theirs, ours = _open_streams(plan.terminal, job.request.open_stdin)
    child = spawn(
        plan,
        group,
        unified=host.layout.unified,
        stdio=theirs,
        netns_fd=job.netns_fd,
        container_pidfd=job.container_pidfd,
    )
    for fd in (*(theirs or ()), job.netns_fd, job.container_pidfd):
        if fd is not None:
            os.close(fd)
    handshake(
        plan,
        child,
        group,
        unified=host.layout.unified,
        meanwhile=lambda: _record(directory, job.request, plan, child, host),
    )
    if child.master_fd is not None:
        ours = Streams(child.master_fd, {child.master_fd: 1})
    return child, ours


def _monitor(job: Job, group: Group, child: Child, streams: Streams, directory: int) -> Monitor:
    request = job.request
    if isinstance(request, StartRequest):
        log, once, cgroup = open_writer(request.log), request.stdin_once, group.open()
        state_now = msgspec.structs.replace(job.plan.state, pid=child.pid, status="running")
        run_hooks(job.plan.hooks.poststart, state_now)
        return Monitor(job.plan, child, streams, directory, cgroup, log, stdin_once=once)
    return Monitor(job.plan, child, streams, directory, None, None, stdin_once=True)


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


def _open_streams(terminal: bool, open_stdin: bool) -> tuple[tuple[int, int, int] | None, Streams]:
    """The child's ends and ours. With a terminal the child makes its own."""
    if terminal:
        return None, Streams(None, {})
    output, output_write = os.pipe()
    errors, errors_write = os.pipe()
    stdin: int | None = None
    if open_stdin:
        stdin_read, stdin = os.pipe()
    else:
        stdin_read = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    return (stdin_read, output_write, errors_write), Streams(stdin, {output: 1, errors: 2})


def _record(
    directory: int, request: StartRequest | ExecRequest, plan: Plan, child: Child, host: Host
) -> None:
    ticks = state.start_time_ticks(child.pid)
    if ticks is None:
        raise InternalError("the container's set-up was killed, perhaps for lack of memory")
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
