"""The engine's side of the launcher and its monitors: what implements :class:`Runtime`."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    Unavailable,
    WherryError,
)
from wherry.runtime import messages as msg
from wherry.runtime.api import ExecRequest, ExitStatus, HeldPort, StartRequest
from wherry.runtime.execs.asking import AskedExec
from wherry.runtime.execs.channels import ExecChannels, NoExecServerError
from wherry.runtime.protect import protected_interpreter
from wherry.runtime.remains import KILLED, connect, status_without_monitor
from wherry.runtime.watching import Watched, Watching
from wherry.sys.faults import reach

# msgspec does without typing_extensions, which would bring inspect, ast and tokenize along: 1.4 MB
# that every monitor shares.
_BOOTSTRAP = (
    "import sys;sys.path[:0]=sys.argv.pop().split(':');sys.modules['typing_extensions']=None;"
    "from wherry.runtime.launch.launcher import main;main()"
)
_FIRST_WORD = 5.0  # seconds for a monitor, which may be busy with output, to say who it is
_PORTS_A_MESSAGE = 1000

Callback = Callable[[ExitStatus], None]
Deliver = Callable[[msg.ToLauncher, Sequence[int]], None]
Answered = Callable[["MonitoredProcess | WherryError"], None]


class _AskLauncherError(Exception):
    """An exec server leaves an exec to a process of its own."""


def spawn_launcher() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a launcher; returns it and our end of its socket.

    The interpreter is executed from a mount of its own (:mod:`wherry.runtime.protect`).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    program = protected_interpreter()
    try:
        path = sys.executable if program is None else f"/proc/self/fd/{program}"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(theirs.fileno()), _module_path()],
            executable=path,
            pass_fds=[theirs.fileno(), *([program] if program is not None else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    finally:
        theirs.close()
        if program is not None:
            os.close(program)
    return process, ours


def _module_path() -> str:
    return ":".join(os.path.abspath(entry) for entry in sys.path if entry)


class MonitoredProcess:
    """A process behind a connection to its monitor."""

    def __init__(
        self, runtime: LauncherRuntime, sock: socket.socket, state_dir: str, started: msg.Started
    ) -> None:
        self._runtime = runtime
        self._sock = sock
        self._state_dir = state_dir
        self._started = started
        self._lock = threading.Condition()
        self._status: ExitStatus | None = None
        self._callbacks: list[Callback] = []
        self._answers: dict[int, msg.Done | None] = {}
        self._seq = 0
        self._closed = False

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def created_mountpoints(self) -> tuple[str, ...]:
        return self._started.created_mountpoints

    def fileno(self) -> int:
        return self._sock.fileno()

    def on_exit(self, callback: Callback) -> None:
        """See :class:`wherry.runtime.api.Process`."""
        with self._lock:
            if self._status is None:
                self._callbacks.append(callback)
                return
            status = self._status
        callback(status)

    def signal(self, signum: int) -> None:
        """See :class:`wherry.runtime.api.Process`."""
        self._ask(lambda seq: msg.Signal(seq, signum))

    def resize(self, rows: int, columns: int) -> None:
        """See :class:`wherry.runtime.api.Process`."""
        for number in (rows, columns):
            if not 0 <= number <= 0xFFFF:
                raise InvalidArgument(f"{rows}x{columns} is no size for a terminal")
        self._ask(lambda seq: msg.Resize(seq, rows, columns))

    def close_stdin(self) -> None:
        """Close standard input, after what was written to it so far."""
        self._ask(msg.CloseStdin)

    def attach(self, *, stdin: bool, stdout: bool, stderr: bool) -> socket.socket:
        """See :class:`wherry.runtime.api.Process`."""
        ours, theirs = socket.socketpair()
        try:
            self._ask(lambda seq: msg.Attach(seq, stdin, stdout, stderr), [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def hold(self, fds: Sequence[int]) -> None:
        """See :class:`wherry.runtime.api.Process`."""
        for start in range(0, len(fds), msg.MAX_FDS):
            self._ask(msg.Hold, fds[start : start + msg.MAX_FDS])

    def release(self, ports: Sequence[HeldPort]) -> None:
        """See :class:`wherry.runtime.api.Process`."""
        for start in range(0, len(ports), _PORTS_A_MESSAGE):
            some = tuple(ports[start : start + _PORTS_A_MESSAGE])
            self._ask(partial(_release, some))

    def close(self) -> None:
        """Forget the process; it goes on running."""
        with self._lock:
            self._closed = True
            self._callbacks.clear()
        self._runtime.forget(self)

    def _ask(self, make: Callable[[int], msg.ToMonitor], fds: Sequence[int] = ()) -> None:
        """Send a request and wait for its answer; Conflict if the process has ended."""
        with self._lock:
            if self._status is not None or self._closed:
                raise Conflict(f"process {self.pid} has ended")
            self._seq += 1
            seq = self._seq
            self._answers[seq] = None
            try:
                msg.send(self._sock, make(seq), fds)
            except OSError:
                del self._answers[seq]
                raise Conflict(f"process {self.pid} has ended") from None
            self._lock.wait_for(lambda: self._answers[seq] or self._status or self._closed)
            answer = self._answers.pop(seq)
        if answer is None:
            raise Conflict(f"process {self.pid} has ended")
        if answer.kind:
            raise msg.to_error(answer.kind, answer.message)

    def readable(self) -> bool:
        """Take one message, on the runtime's thread; False at the end of the connection."""
        try:
            packet = msg.receive(self._sock, msg.to_engine, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except (OSError, InvalidArgument):
            packet = None
        if packet is None:
            self._ended(status_without_monitor(self._state_dir))
            return False
        message = packet[0]
        if isinstance(message, msg.Exited):
            self._ended(
                ExitStatus(
                    code=message.code,
                    oom_killed=message.oom_killed,
                    finished_ns=message.finished_ns,
                )
            )
            return False
        if isinstance(message, msg.Done):
            with self._lock:
                if message.seq in self._answers:
                    self._answers[message.seq] = message
                    self._lock.notify_all()
        return True

    def disconnect(self) -> None:
        """Close the connection; waiting requests end."""
        with self._lock:
            self._closed = True
            self._sock.close()
            self._lock.notify_all()

    def _ended(self, status: ExitStatus | None) -> None:
        with self._lock:
            if self._status is not None:
                return
            self._status = status or ExitStatus(code=KILLED, finished_ns=time.time_ns())
            callbacks, self._callbacks = self._callbacks, []
            self._lock.notify_all()
        self._runtime.end_execs(self._state_dir)
        for callback in callbacks:
            callback(self._status)


def _release(ports: tuple[HeldPort, ...], seq: int) -> msg.Release:
    return msg.Release(seq, ports)


def _server_killed() -> WherryError:
    return InternalError("the process that serves the container's execs was killed")


def _started(answer: msg.ToEngine) -> msg.Started:
    """A monitor's first word; raises what it says went wrong."""
    if isinstance(answer, msg.Failed):
        raise msg.to_error(answer.kind, answer.message)
    if isinstance(answer, msg.Elsewhere):
        raise _AskLauncherError
    if not isinstance(answer, msg.Started):
        raise InternalError("the monitor's first word was not understood")
    return answer


class LauncherRuntime:
    """Starts containers through a launcher; see :class:`wherry.runtime.api.Runtime`.

    ``exec_root`` is the engine's directory for what does not outlive a boot.
    """

    def __init__(self, exec_root: str) -> None:
        self._exec_root = exec_root
        self._lock = threading.Lock()
        self._epoll = select.epoll()
        self._processes = Watching()
        self._begun = Watching()  # execs that were not waited for
        self._servers = ExecChannels()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for source in (self._wake_read, self._processes, self._begun):
            self._epoll.register(source, select.EPOLLIN)
        self._closed = False
        self._launcher, self._sock = spawn_launcher()
        self._thread = threading.Thread(target=self._watch, name="wherry-monitors", daemon=True)
        self._thread.start()

    @property
    def launcher_pid(self) -> int:
        """The process that keeps monitors in stock; changes when it had to be replaced."""
        return self._launcher.pid

    # --- starting ---

    def start(self, request: StartRequest, fds: Sequence[int] = ()) -> MonitoredProcess:
        """See :class:`wherry.runtime.api.Runtime`."""
        return self._launch(msg.Start(request), request.state_dir, fds)

    def exec(self, request: ExecRequest, fds: Sequence[int] = ()) -> MonitoredProcess:
        """See :class:`wherry.runtime.api.Runtime`."""
        if request.may_be_served:
            try:
                return self._exec_by_server(request, fds)
            except _AskLauncherError:
                pass
        return self._launch(msg.Exec(request), request.state_dir, fds)

    def _exec_by_server(self, request: ExecRequest, fds: Sequence[int]) -> MonitoredProcess:
        """By the container's exec server (execs/server.py), or by what is to become it."""
        place = request.container_state_dir
        try:
            asked = self._ask(partial(self._servers.send, place), msg.Exec(request), fds)
        except NoExecServerError:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                with theirs:
                    message = msg.Exec(request, serve=True)
                    process = self._launch(message, request.state_dir, [*fds, theirs.fileno()])
            except BaseException:
                ours.close()  # and so ends a server whose first exec failed
                raise
            self._epoll.register(ours, 0)  # only its end is of interest
            self._servers.keep(place, ours)
            return process
        if asked is None:
            raise _server_killed()
        return self._adopted(asked[0], request.state_dir, asked[1])

    def expect_exec(self, request: ExecRequest) -> None:
        """See :class:`wherry.runtime.api.Runtime`."""
        if request.may_be_served:
            with suppress(NoExecServerError):
                self._servers.send(request.container_state_dir, msg.Expect(request), ())

    def exec_soon(self, request: ExecRequest, fds: Sequence[int], answered: Answered) -> bool:
        """See :class:`wherry.runtime.api.Runtime`."""
        if not request.may_be_served:
            return False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                message, passed = msg.Exec(request), [theirs.fileno(), *fds]
                self._servers.send(request.container_state_dir, message, passed)
        except NoExecServerError:
            ours.close()
            return False
        except BaseException:
            ours.close()
            raise
        reach("runtime.asked")
        self._begun.add(AskedExec(ours, partial(self._answered, ours, request, fds, answered)))
        return True

    def listen_for_begun(self) -> Watching:
        """See :class:`wherry.runtime.api.Runtime`."""
        self._epoll.unregister(self._begun)
        return self._begun

    def _answered(
        self,
        sock: socket.socket,
        request: ExecRequest,
        fds: Sequence[int],
        answered: Answered,
        answer: msg.ToEngine | None,
    ) -> bool:
        """A server has answered; whether it says more of the process."""
        try:
            if answer is None:
                raise _server_killed()
            process = MonitoredProcess(self, sock, request.state_dir, _started(answer))
        except _AskLauncherError:
            slow = threading.Thread(target=self._exec_slowly, args=(request, fds, answered))
            slow.start()
            return False
        except WherryError as error:
            answered(error)
            return False
        self._begun.replace(process)
        answered(process)
        return True

    def _exec_slowly(self, request: ExecRequest, fds: Sequence[int], answered: Answered) -> None:
        """In a thread: by the launcher, which may have to be replaced first."""
        try:
            outcome: MonitoredProcess | WherryError
            outcome = self._launch(msg.Exec(request), request.state_dir, fds)
        except WherryError as error:
            outcome = error
        except OSError as error:
            outcome = InternalError(str(error))
        answered(outcome)

    def _launch(
        self, message: msg.ToLauncher, state_dir: str, fds: Sequence[int]
    ) -> MonitoredProcess:
        asked = self._ask(self._send, message, fds)
        if asked is None and self._launcher.poll() is not None:
            # The launcher was killed with the request in its queue: its successor gets it.
            asked = self._ask(self._send, message, fds)
        if asked is None:
            raise InternalError("the launcher ended before the process was started")
        return self._adopted(asked[0], state_dir, asked[1])

    def _ask(
        self, deliver: Deliver, message: msg.ToLauncher, fds: Sequence[int]
    ) -> tuple[socket.socket, msg.Started] | None:
        """The connection to the monitor and its first word; None if nobody took the request."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            try:
                deliver(message, [theirs.fileno(), *fds])
            finally:
                theirs.close()
            reach("runtime.asked")
            packet = msg.receive(ours, msg.to_engine)
            if packet is None:
                ours.close()
                return None
            return ours, _started(packet[0])
        except BaseException:
            ours.close()
            raise

    def _send(self, message: msg.ToLauncher, fds: Sequence[int]) -> None:
        """Send to the launcher; one that has died is replaced."""
        with self._lock:
            if self._closed:
                raise Unavailable("the runtime was closed")
            try:
                msg.send(self._sock, message, fds)
                return
            except (BrokenPipeError, ConnectionResetError):
                self._sock.close()
                self._launcher.wait()
            self._launcher, self._sock = spawn_launcher()
            msg.send(self._sock, message, fds)

    # --- taking up again ---

    def adopt(self, state_dir: str) -> MonitoredProcess | ExitStatus | None:
        """See :class:`wherry.runtime.api.Runtime`. A process whose monitor was killed died with
        it; what is left of its control group is removed."""
        sock = connect(state_dir)
        if sock is not None:
            # A starter that never got to its end, as in a frozen container, listens and is silent.
            sock.settimeout(_FIRST_WORD)
            try:
                packet = msg.receive(sock, msg.to_engine)
            except (OSError, InvalidArgument):
                packet = None
            sock.settimeout(None)
            if packet is not None and isinstance(packet[0], msg.Started):
                return self._adopted(sock, state_dir, packet[0])
            sock.close()
        return status_without_monitor(state_dir)

    def _adopted(
        self, sock: socket.socket, state_dir: str, started: msg.Started
    ) -> MonitoredProcess:
        process = MonitoredProcess(self, sock, state_dir, started)
        self._processes.add(process)
        return process

    # --- the thread ---

    def _watch(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._wake_read:
                    return
                if fd == self._processes.fileno():
                    self._processes.take()
                elif fd == self._begun.fileno():
                    self._begun.take()
                else:
                    self._servers.drop(fd)

    def forget(self, watched: Watched) -> None:
        """Close the connection to a process's monitor."""
        self._processes.forget(watched)
        self._begun.forget(watched)

    def end_execs(self, state_dir: str) -> None:
        """Let the exec server of a container go that has ended."""
        self._servers.forget(state_dir)

    def close(self) -> None:
        """End the launcher. Containers and their monitors go on."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._sock.close()
        os.write(self._wake_write, b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._launcher.wait()
        self._processes.close()
        self._begun.close()
        self._servers.close()
        self._epoll.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
