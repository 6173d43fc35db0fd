"""The launcher: a small process with one thread that forks a monitor for every request.

It never waits for a container: the connection that came with a request goes to the monitor, which
answers on it. End of file on its own socket ends it; monitors live on. The messages are described
in ``docs/protocols/launcher.md``.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

import msgspec

from wherry.errors import InternalError, InvalidArgument, WherryError
from wherry.model.runtime_spec import Process, Spec
from wherry.runtime import monitor_main, state
from wherry.runtime.api import ExecRequest, StartRequest
from wherry.runtime.messages import (
    Start,
    ToLauncher,
    close_all,
    failure,
    receive,
    send,
    to_launcher,
)
from wherry.runtime.plan import plan_container, plan_exec
from wherry.runtime.title import Title
from wherry.sys.files import close_range
from wherry.sys.process import PR_SET_DUMPABLE, prctl

_spec_decoder = msgspec.json.Decoder(Spec)
_process_decoder = msgspec.json.Decoder(Process)


def main() -> None:
    """The process's entry; ``sys.argv[1]`` is the number of its socket."""
    number = int(sys.argv[1])
    prctl(PR_SET_DUMPABLE, 0)  # no container may look into it through /proc
    close_range(3, number - 1) if number > 3 else None
    close_range(number + 1)
    for one in signal.Signals:
        if one not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors are not waited for
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with socket.socket(fileno=number) as sock:
        sock.set_inheritable(False)
        os.chdir("/")
        Launcher(sock).serve()


class Launcher:
    """Serves one engine."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._title = Title()
        self._host = monitor_main.find_host()

    def serve(self) -> None:
        """Answer requests until the engine closes its end."""
        self._title.set("wherry-launcher", "wherry-launcher")
        gc.collect()
        gc.disable()
        gc.freeze()  # a collection in a monitor would touch, and so copy, every page
        while True:
            try:
                packet = receive(self._sock, to_launcher)
            except InvalidArgument:
                continue  # its connection was closed, which tells the sender
            except ConnectionResetError:
                return
            if packet is None:
                return
            self._handle(*packet)

    def _handle(self, message: ToLauncher, fds: list[int]) -> None:
        if not fds:
            return
        connection = socket.socket(fileno=fds[0])
        fds = fds[1:]
        try:
            job = self._job(message, fds)
            self._fork(job, connection)
        except (WherryError, OSError) as error:
            _answer(connection, error)
        finally:
            connection.close()
            close_all(fds)

    def _job(self, message: ToLauncher, fds: list[int]) -> monitor_main.Job:
        """Plan a request. Whatever stays in ``fds`` is closed by the caller."""
        if isinstance(message, Start):
            return self._start_job(message.request, fds)
        return self._exec_job(message.request, fds)

    def _start_job(self, request: StartRequest, fds: list[int]) -> monitor_main.Job:
        wanted = [request.attach, request.netns]
        if len(fds) < sum(wanted):
            raise InvalidArgument("a descriptor that the request names was not passed")
        passed = iter(fds)
        plan = plan_container(
            _read_spec(request.bundle),
            request.id,
            request.bundle,
            rootfs=request.rootfs,
            layout=self._host.layout,
            netns=request.netns,
            console_size=request.console_size,
        )
        return monitor_main.Job(
            plan=plan,
            request=request,
            attach_fd=next(passed) if request.attach else None,
            netns_fd=next(passed) if request.netns else None,
        )

    def _exec_job(self, request: ExecRequest, fds: list[int]) -> monitor_main.Job:
        if request.attach and not fds:
            raise InvalidArgument("the descriptor of the attached client was not passed")
        record, pidfd = monitor_main.open_container(request, self._host)
        attach_fd = fds[0] if request.attach else None
        fds.append(pidfd)
        plan = plan_exec(
            _decode_process(request),
            _read_spec(record.bundle),
            request.container_id,
            record.bundle,
            cgroup=record.cgroup,
            layout=self._host.layout,
            console_size=request.console_size,
        )
        return monitor_main.Job(
            plan=plan, request=request, attach_fd=attach_fd, container_pidfd=pidfd
        )

    def _fork(self, job: monitor_main.Job, connection: socket.socket) -> None:
        if os.fork():
            return
        try:
            self._sock.close()
            self._title.set(f"wherry-monitor {job.request.id}", "wherry-monitor")
            monitor_main.run(job, connection, self._host)
        except BaseException:  # noqa: BLE001 - the launcher's code must not run twice
            _leave_trace(job.request.state_dir)
        finally:
            os._exit(0)


def _answer(connection: socket.socket, error: WherryError | OSError) -> None:
    try:
        send(connection, failure(error))
    except OSError:
        pass  # the engine has gone meanwhile


def _read_spec(bundle: str) -> Spec:
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb") as file:
            return _spec_decoder.decode(file.read())
    except OSError as error:
        raise InternalError(f"cannot read {path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{path} is not a runtime configuration: {error}") from None


def _decode_process(request: ExecRequest) -> Process:
    try:
        return _process_decoder.decode(request.process)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"the process of exec {request.id} is malformed: {error}") from None


def _leave_trace(state_dir: str) -> None:
    """Write down what a monitor died of: a defect of ours, for which nobody listens."""
    import traceback

    with open(os.path.join(state_dir, state.CRASH), "w", encoding="utf-8") as file:
        traceback.print_exc(file=file)
