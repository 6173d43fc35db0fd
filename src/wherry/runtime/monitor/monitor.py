"""The monitor: parent of one process, keeper of its streams, its log and its end.

It is forked from the launcher and outlives it, and the engine. One thread, one epoll loop; what it
does not need after the start is done by others, so that most of its memory stays shared.
What it says and hears is described in ``docs/protocols/monitor.md``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import time

from wherry.cgroup.api import Cgroups
from wherry.errors import Conflict, InvalidArgument, WherryError
from wherry.model.runtime_spec import Hook
from wherry.runtime.api import ExitStatus, HeldPort
from wherry.runtime.hooks import run_hooks
from wherry.runtime.loop import Loop
from wherry.runtime.messages import (
    Attach,
    CloseStdin,
    Done,
    Exited,
    Hold,
    Keep,
    Release,
    Resize,
    Signal,
    Started,
    ToMonitor,
    close_all,
    encode,
    failure,
    receive,
    to_monitor,
)
from wherry.runtime.monitor.aftermath import end_processes, remove_group, run_poststop
from wherry.runtime.monitor.attach import Client
from wherry.runtime.monitor.held import bound_to
from wherry.runtime.monitor.memory_kills import MemoryKills
from wherry.runtime.monitor.output_log import OutputLog
from wherry.runtime.ops.console import set_size
from wherry.runtime.state import write_exit
from wherry.sys.faults import reach

CHUNK = 32 * 1024
STDIN_LIMIT = 64 * 1024
DRAINED = 64  # chunks, more than a pipe holds
DRAIN = 2.0
"""Seconds to wait for output after the end, while others still hold the pipes (as dockerd)."""

_KILL_SECONDS = 30  # that another runtime may take to send a signal
_QUIET = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_CREDENTIALS = struct.Struct("3i")


class Monitor:
    """Looks after one process, in a loop that may be others' as well. ``fds`` are those that
    :class:`Keep` lists; from now on they are the monitor's."""

    def __init__(self, keep: Keep, fds: list[int], cgroups: Cgroups, loop: Loop) -> None:
        self._keep = keep
        self._cgroups = cgroups
        self._loop = loop
        self._watch = loop.watch
        self._forget = loop.forget
        self._connections: dict[int, socket.socket] = {}
        self._clients: dict[int, Client] = {}
        self._typed = bytearray()  # for standard input
        self._stdin_closing = False
        self._paused = False
        self._code: int | None = None  # once the process has ended
        self._drain_until = 0.0
        self._oom_killed = False
        self._exited: Exited | None = None
        self._take(fds)
        self._log = OutputLog(keep.log)
        self._begin()

    def _take(self, fds: list[int]) -> None:
        """Take the descriptors in the order that :class:`Keep` describes."""
        keep = self._keep
        self._pidfd, connection, *rest = fds
        self._listener: socket.socket | None = None
        if keep.recorded:
            self._listener = socket.socket(fileno=rest.pop(0))
            self._listener.setblocking(False)
        self._stdin: int | None = None
        self._master: int | None = None
        if keep.terminal:
            self._master = self._stdin = rest.pop(0)
            self._outputs = {self._master: 1}
        else:
            self._outputs = {rest.pop(0): 1, rest.pop(0): 2}
        client = rest.pop(0) if keep.attach else None
        kills = [rest.pop(0)] if keep.follow_kills else []
        self._state_dir = rest.pop(0) if keep.recorded else None
        if keep.stdin:
            self._stdin = rest.pop(0)
        if keep.follow_kills:
            kills.append(rest.pop(0))
        self._kills = MemoryKills(kills)
        self._held = rest
        self._serve(socket.socket(fileno=connection))
        if client is not None:
            self._attach(socket.socket(fileno=client), *keep.attach_streams)

    def _begin(self) -> None:
        # Told again when it can be waited for: not while a tracer holds the dead process.
        self._watch(self._pidfd, select.EPOLLIN | select.EPOLLET, self._on_exit)
        if self._listener is not None:
            self._watch(self._listener.fileno(), select.EPOLLIN, self._on_connect)
        for fd in self._outputs:
            os.set_blocking(fd, False)
            self._watch(fd, select.EPOLLIN, self._on_output)
        if self._stdin is not None:
            os.set_blocking(self._stdin, False)
        if self._kills.watched is not None:
            self._watch(self._kills.watched, select.EPOLLIN, self._kills.look)

    # --- the loop ---

    def run(self) -> None:
        """Serve until the process has ended and everything about it was delivered."""
        while not self.settled():
            self._loop.turn(self.patience())

    def patience(self) -> float:
        """Seconds until something has to be done even if nothing happens; -1: never."""
        if self._code is not None and self._exited is None:
            return max(0.0, self._drain_until - time.monotonic())
        return 5.0 if any(client.full for client in self._clients.values()) else -1

    def settled(self) -> bool:
        """Do what time asks for, between two turns of the loop; whether all is done."""
        for client in list(self._clients.values()):
            if client.stalled():
                self._drop(client)
        drained = not self._outputs or time.monotonic() >= self._drain_until
        if self._code is not None and self._exited is None and drained:
            self._finish(self._code)
        if self._exited is None or self._undelivered():
            return False
        self._log.end_shipper()
        return True

    def close(self) -> None:
        """Let go of all descriptors, in a process that goes on."""
        for sock in (self._listener, *self._connections.values()):
            if sock is not None:
                self._forget(sock.fileno())
                sock.close()
        for fd in {self._pidfd, self._state_dir, *self._outputs, self._stdin}:
            if fd is not None:
                self._forget(fd)
                os.close(fd)

    def _undelivered(self) -> bool:
        """Whether a client still has output to take; the others are let go."""
        for client in list(self._clients.values()):
            if not client.pending:
                self._drop(client)
        return bool(self._clients)

    # --- output ---

    def _on_output(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open
            data = b""
        if data:
            self._deliver(self._outputs[fd], data)
        else:
            self._end_output(fd)

    def _deliver(self, stream: int, data: bytes) -> None:
        self._log.write(stream, data)
        self._attend_shipper()
        for client in list(self._clients.values()):
            try:
                client.deliver(stream, data)
                self._attend(client)
            except OSError:
                self._drop(client)
        self._pace()

    def _end_output(self, fd: int) -> None:
        if fd == self._master and self._code is None:
            # Nobody has the terminal open now; somebody may open it again. Until then it is hung
            # up for epoll(7), which is of interest only when it changes.
            if self._loop.handler(fd) != self._drain:
                self._watch(fd, select.EPOLLIN | select.EPOLLET, self._drain)
            return
        self._forget(fd)
        del self._outputs[fd]
        if fd != self._stdin:
            os.close(fd)

    def _pace(self) -> None:
        """Stop reading output while a client has too much to take, and go on afterwards."""
        paused = self._log.full or any(client.full for client in self._clients.values())
        if paused == self._paused:
            return
        self._paused = paused
        for fd in self._outputs:
            if fd == self._stdin:
                self._watch_stdin(fd)
            elif paused:
                self._forget(fd)
            else:
                self._watch(fd, select.EPOLLIN, self._on_output)

    def _attend_shipper(self) -> None:
        """Watch what waits for a logging service."""
        shipper = self._log.shipper
        if shipper is not None:
            if shipper.pending:
                self._watch(shipper.fileno(), select.EPOLLOUT, self._on_shipper)
            else:
                self._forget_shipper()

    def _forget_shipper(self) -> None:
        if self._log.shipper is not None:
            self._forget(self._log.shipper.fileno())

    def _on_shipper(self, fd: int) -> None:
        self._forget(fd)
        self._log.flush()
        self._attend_shipper()
        self._pace()

    # --- attached clients ---

    def _attach(self, sock: socket.socket, stdin: bool, stdout: bool, stderr: bool) -> None:
        """Connect a client to the streams from now on."""
        wanted = {0: stdin and self._stdin is not None, 1: stdout, 2: stderr}
        if self._keep.terminal:
            wanted[1] = stdout or stderr
        numbers = frozenset(number for number, wish in wanted.items() if wish)
        client = Client(sock, numbers, self._keep.terminal)
        self._clients[sock.fileno()] = client
        self._attend(client)

    def _attend(self, client: Client) -> None:
        """Watch a client for what it may do next."""
        events = select.EPOLLHUP
        if client.reading and len(self._typed) < STDIN_LIMIT:
            events |= select.EPOLLIN
        if client.pending:
            events |= select.EPOLLOUT
        self._watch(client.sock.fileno(), events, self._on_client)

    def _on_client(self, fd: int) -> None:
        client = self._clients[fd]
        try:
            client.flush()
        except OSError:
            self._drop(client)
            return
        if client.reading and len(self._typed) < STDIN_LIMIT:
            self._read_client(client)
        elif self._hung_up(client):
            self._drop(client)
            return
        if fd in self._clients:
            self._attend(client)
        self._pace()

    def _read_client(self, client: Client) -> None:
        data = client.receive(CHUNK)
        if data:
            self._type(data)
        elif data is not None:
            client.reading = False
            if self._hung_up(client):
                self._drop(client)
            if self._keep.stdin_once and not self._keep.terminal:
                self._close_stdin()

    def _hung_up(self, client: Client) -> bool:
        poll = select.poll()
        poll.register(client.sock, 0)
        return bool(poll.poll(0))

    def _drop(self, client: Client) -> None:
        fd = client.sock.fileno()
        self._forget(fd)
        if self._clients.pop(fd, None) is None:
            return
        client.sock.close()
        if 0 in client.streams and self._keep.stdin_once and not self._keep.terminal:
            self._close_stdin()
        self._pace()

    # --- standard input ---

    def _type(self, data: bytes) -> None:
        if self._stdin is not None:
            self._typed += data
            self._on_stdin(self._stdin)

    def _on_stdin(self, fd: int) -> None:
        """Write what was typed, as far as the process takes it."""
        try:
            while self._typed:
                written = os.write(fd, memoryview(self._typed)[:CHUNK].tobytes())
                del self._typed[:written]
        except BlockingIOError:
            pass
        except OSError:
            self._typed.clear()
            self._close_stdin()
            return
        self._watch_stdin(fd)

    def _watch_stdin(self, fd: int) -> None:
        reading = fd in self._outputs and not self._paused
        events = (select.EPOLLIN if reading else 0) | (select.EPOLLOUT if self._typed else 0)
        if events:
            self._watch(fd, events, self._on_terminal if reading else self._on_stdin)
        else:
            self._forget(fd)
            self._closing_stdin()
        if len(self._typed) < STDIN_LIMIT:
            for client in self._clients.values():
                self._attend(client)

    def _on_terminal(self, fd: int) -> None:
        """A terminal's master is output and input at once."""
        self._on_output(fd)
        if self._typed and self._loop.handler(fd):
            self._on_stdin(fd)

    def _close_stdin(self) -> None:
        """Close standard input when everything typed before was written."""
        self._stdin_closing = True
        self._closing_stdin()

    def _closing_stdin(self) -> None:
        fd = self._stdin
        if self._stdin_closing and not self._typed and fd is not None:
            if fd not in self._outputs:
                self._forget(fd)
                os.close(fd)
            self._stdin = None

    # --- the engine ---

    def _on_connect(self, _fd: int) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in (0, os.geteuid()):
            sock.close()
            return
        self._serve(sock)
        self._say(sock, Started(self._keep.pid, self._keep.created_mountpoints))
        if self._exited is not None:
            self._say(sock, self._exited)

    def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._connections[sock.fileno()] = sock
        self._watch(sock.fileno(), select.EPOLLIN, self._on_message)

    def _say(self, sock: socket.socket, message: Started | Done | Exited) -> None:
        try:
            sock.send(encode(message), _QUIET)
        except OSError:  # gone, or it has not read for a very long time
            self._hang_up(sock)

    def _hang_up(self, sock: socket.socket) -> None:
        self._forget(sock.fileno())
        self._connections.pop(sock.fileno(), None)
        sock.close()

    def _on_message(self, fd: int) -> None:
        sock = self._connections[fd]
        try:
            packet = receive(sock, to_monitor, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except (OSError, InvalidArgument):
            packet = None
        if packet is None:
            self._hang_up(sock)
            return
        message, fds = packet
        try:
            self._obey(message, fds)
            answer = Done(message.seq)
        except (WherryError, OSError) as error:
            failed = failure(error)
            answer = Done(message.seq, failed.kind, failed.message)
        close_all(fds)
        self._say(sock, answer)

    def _obey(self, message: ToMonitor, fds: list[int]) -> None:
        if self._code is not None:
            raise Conflict(f"process {self._keep.pid} has ended")
        if isinstance(message, Signal) and self._keep.kill:
            words = (*self._keep.kill, str(message.signum))
            run_hooks((Hook(path=words[0], args=words, timeout=_KILL_SECONDS),), self._keep.state)
        elif isinstance(message, Signal):
            signal.pidfd_send_signal(self._pidfd, message.signum)
        elif isinstance(message, Resize):
            if self._master is None:
                raise Conflict("the process has no terminal")
            set_size(self._master, message.rows, message.columns)
        elif isinstance(message, CloseStdin):
            self._close_stdin()
        elif isinstance(message, Attach) and fds:
            sock = socket.socket(fileno=os.dup(fds[0]))
            self._attach(sock, message.stdin, message.stdout, message.stderr)
        elif isinstance(message, Hold):
            self._held += [os.dup(fd) for fd in fds]
        elif isinstance(message, Release):
            self._release(message.ports)

    def _release(self, ports: tuple[HeldPort, ...]) -> None:
        gone = [fd for fd in self._held if bound_to(fd) in ports]
        self._held = [fd for fd in self._held if fd not in gone]
        close_all(gone)

    # --- the end ---

    def _on_exit(self, fd: int) -> None:
        result = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG)
        if result is None:
            return
        reach("monitor.ended")
        self._forget(fd)
        by_signal = result.si_code != os.CLD_EXITED
        self._code = result.si_status + (128 if by_signal else 0)
        self._drain_until = time.monotonic() + DRAIN
        killed = end_processes(self._keep, self._cgroups)
        self._kills.look()
        self._oom_killed = killed or self._kills.seen
        for output in list(self._outputs):
            self._drain(output)

    def _drain(self, fd: int) -> None:
        """Read what there is, but not for ever: others may print faster than this reads."""
        for _ in range(DRAINED):
            if fd not in self._outputs:
                break
            try:
                data = os.read(fd, CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self._end_output(fd)
                break
            self._deliver(self._outputs[fd], data)

    def _finish(self, code: int) -> None:
        """Record the end, then tell everybody."""
        self._forget_shipper()
        self._log.finish()
        self._attend_shipper()
        now = time.time_ns()
        oom_killed = self._oom_killed
        remove_group(self._keep, self._cgroups)
        reach("monitor.ungrouped")
        close_all(self._held)  # whoever hears of the end may want the ports again
        run_poststop(self._keep)
        self._exited = Exited(code, oom_killed, now)
        self._record(ExitStatus(code=code, oom_killed=oom_killed, finished_ns=now))
        for sock in list(self._connections.values()):
            self._say(sock, self._exited)
        reach("monitor.told")
        for fd in list(self._outputs):
            self._forget(fd)

    def _record(self, status: ExitStatus) -> None:
        if self._state_dir is None:
            return
        try:
            write_exit(self._state_dir, status)
        except OSError:
            pass  # the directory was removed, or the disk is full: the engine is told
        reach("monitor.recorded")
