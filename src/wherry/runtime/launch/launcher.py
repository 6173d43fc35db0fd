"""The launcher: a small process with one thread that keeps starters and monitors in stock.

It forks a monitor, the monitor forks a starter, and all starters wait for the next request on the
one socket that they share with the engine: a request is taken by one that was made before it came.
The launcher itself only makes new ones. End of file on the engine's socket ends it and those that
wait; monitors that have something to look after live on. See ``docs/protocols/launcher.md``.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

import wherry.runtime.seccomp.compiler  # noqa: F401 - planning asks for it where a container has a filter
from wherry.errors import InternalError, InvalidArgument
from wherry.runtime.api import ExecRequest
from wherry.runtime.execs.server import ExecServer
from wherry.runtime.host import find_host, is_in_version_2
from wherry.runtime.launch import keeper, starter
from wherry.runtime.launch.outset import OpenedExec
from wherry.runtime.launch.premade import Premade
from wherry.runtime.launch.ready import Stock, hold_ready
from wherry.runtime.launch.ready_rehearsal import (
    rehearse_clone,
    rehearse_init,
    rehearse_request,
)
from wherry.runtime.launch.rehearsal import rehearse
from wherry.runtime.messages import (
    GUARD,
    Exec,
    Taken,
    ToLauncher,
    from_starter,
    receive,
    send,
    to_launcher,
)
from wherry.runtime.title import Title, set_own_name
from wherry.sys.faults import listen_to
from wherry.sys.files import close_range
from wherry.sys.process import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, prctl

SPARES = 3
MAX_LOST = 20
_ADAPTED = 3  # times that the interpreter must see code to adapt it


def main() -> None:
    """The process's entry; ``sys.argv[1]`` is the number of its socket."""
    number = int(sys.argv[1])
    listen_to(os.environ)
    prctl(PR_SET_DUMPABLE, 0)  # no container may look into it through /proc
    if number > 3:
        close_range(3, number - 1)
    close_range(number + 1)
    for one in signal.Signals:
        if one not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.chdir("/")
    engine = socket.socket(fileno=number)
    engine.set_inheritable(False)
    Launcher(engine).serve()


class Launcher:
    """Serves one engine."""

    def __init__(self, engine: socket.socket) -> None:
        self._engine = engine
        self._title = Title()
        self._host = find_host(beside=is_in_version_2())
        self._news, self._starters_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._waiting: set[int] = set()  # monitors without a process, by pid
        self._monitors: dict[int, int] = {}  # all monitors: their pidfd and pid
        self._lost = 0  # monitors that ended while they waited, since the last request
        self._epoll = select.epoll()

    def serve(self) -> None:
        """Keep monitors in stock until the engine closes its end."""
        self._title.set("wherry-launcher")
        set_own_name(b"wherry-launcher")
        self._epoll.register(self._engine, 0)  # only its end is of interest here
        self._epoll.register(self._news, select.EPOLLIN)
        for _ in range(_ADAPTED):
            rehearse(self._host)
        gc.collect()
        gc.disable()
        gc.freeze()  # a collection in a monitor would touch, and so copy, every page
        while True:
            while len(self._waiting) < SPARES:
                self._fork_monitor()
            for fd, _ in self._epoll.poll():
                if fd == self._engine.fileno():
                    return
                if fd == self._news.fileno():
                    self._hear()
                else:
                    self._reap(fd)

    def _hear(self) -> None:
        try:
            packet = receive(self._news, from_starter)
        except InvalidArgument:
            return
        if packet is not None:
            self._lost = 0
            taken = packet[0]
            self._waiting.discard(taken.monitor)
            if taken.profile is not None:
                self._host.filters.remember(taken.profile, taken.program)

    def _reap(self, pidfd: int) -> None:
        self._epoll.unregister(pidfd)
        os.close(pidfd)
        pid = self._monitors.pop(pidfd)
        os.waitpid(pid, 0)
        if pid in self._waiting:
            self._waiting.discard(pid)
            self._lost += 1
            if self._lost > MAX_LOST:
                raise InternalError(f"{self._lost} monitors ended before they had anything to do")

    def _fork_monitor(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            self._become_monitor(ours, theirs)
        ours.close()
        theirs.close()
        pidfd = os.pidfd_open(pid)
        self._monitors[pidfd] = pid
        self._waiting.add(pid)
        self._epoll.register(pidfd, select.EPOLLIN)

    def _become_monitor(self, ours: socket.socket, theirs: socket.socket) -> None:
        """Never returns: the launcher's code must not run twice."""
        try:
            os.setsid()
            set_own_name(b"wherry-monitor")
            for fd in (self._news.fileno(), self._epoll.fileno(), *self._monitors):
                os.close(fd)
            monitor = os.getpid()
            prctl(PR_SET_CHILD_SUBREAPER, 1)
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._be_starter(theirs, monitor)
            for fd in (self._engine.fileno(), self._starters_end.fileno(), theirs.fileno()):
                os.close(fd)
            keeper.wait(ours, pid, self._host)
        except BaseException:  # noqa: BLE001 - a defect of ours
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    def _prepare_init(self) -> tuple[Premade, ...]:
        self._title.set("wherry-init (waiting)")
        return rehearse_init(self._host)

    def _be_starter(self, monitor: socket.socket, monitor_pid: int) -> None:
        """Never returns."""
        tell = self._announcement(monitor_pid)
        try:
            set_own_name(b"wherry-starter")
            self._title.set("wherry-starter")
            init = hold_ready(self._host, self._prepare_init)
            self._title.set("wherry-monitor (waiting)", monitor_pid)
            rehearse_request()
            stock = Stock(init) if init is not None else Stock(mounts=rehearse_clone(self._host))
            packet = self._next_request(monitor)
            if packet is not None:
                if init is not None:
                    init.offer(*packet)
                self._title.set(f"wherry-monitor {packet[0].request.id}", monitor_pid)
                opened = starter.serve(*packet, monitor, self._host, tell, stock)
                if opened is not None and isinstance(packet[0], Exec):
                    self._serve_execs(packet[0].request, packet[1], opened, monitor, tell)
                tell()
        except BaseException:  # noqa: BLE001 - a defect of ours
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)

    def _serve_execs(
        self,
        request: ExecRequest,
        fds: list[int],
        first: OpenedExec,
        guard: socket.socket,
        tell: Callable[[], None],
    ) -> None:
        """Be the exec server of a container, see execs/server.py; it is no starter any more."""

        def part() -> None:
            tell()
            self._engine.close()
            self._starters_end.close()

        set_own_name(b"wherry-execs")
        self._title.set(f"wherry-execs {request.container_id}")
        self._title.set(f"wherry-monitor execs {request.container_id}", os.getppid())
        os.dup2(0, 2)  # the engine's standard error is not kept open
        guard.send(GUARD)
        channel = socket.socket(fileno=fds.pop())
        ExecServer(channel, guard, self._host, part).run(request, fds, first)

    def _next_request(self, monitor: socket.socket) -> tuple[ToLauncher, list[int]] | None:
        """Wait for a request that no other starter takes; None at the end of engine, launcher or
        monitor."""
        epoll = select.epoll()
        epoll.register(self._engine, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        epoll.register(self._starters_end, 0)
        epoll.register(monitor, 0)
        while True:
            if any(fd != self._engine.fileno() for fd, _ in epoll.poll()):
                return None
            try:
                return receive(self._engine, to_launcher, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                return None
            except InvalidArgument:
                continue  # its connection was closed, which tells the sender

    def _announcement(self, monitor: int) -> Callable[[], None]:
        """What tells the launcher, once, that a new pair is needed."""
        filters = self._host.filters
        told = False

        def tell() -> None:
            nonlocal told
            if not told:
                told = True
                profile = filters.compiled
                program = filters.program(profile) if profile is not None else b""
                try:
                    send(self._starters_end, Taken(monitor, profile, program))
                except OSError:
                    pass  # the launcher has gone; what was taken is done all the same

        return tell
