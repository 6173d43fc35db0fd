"""The engine's side of the resolver: starts it with the first container, tells it what changes,
takes up one that an earlier engine started, and makes a new one if it ends.

Everything that was told is remembered here, so that a new process learns all of it. Its sockets
are gone with the one before; they are made again in the namespaces of the containers' processes.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec
from msgspec.structs import replace as replace_struct

from wherry.errors import InternalError, InvalidArgument, WherryError
from wherry.network.api import Listening, PublishedPort, Sandbox
from wherry.network.ports import bind_again
from wherry.network.resolver import protocol
from wherry.network.resolver.protocol import Member, View
from wherry.network.resolver.sockets import make_sockets
from wherry.network.sandbox import open_sandbox

_LOG = logging.getLogger(__name__)
_PATIENCE = 10.0  # seconds for an answer: the machine may be busy
_START_PATIENCE = 60.0  # for the first one: an interpreter starts, on a busy machine in 20 seconds
_TOGETHER = 32  # requests that are sent before their answers are read
_RESTARTS = 5
"""Times in a row that the resolver may end before it has answered anything."""

# msgspec does without typing_extensions, which would bring inspect, ast and tokenize along.
_BOOTSTRAP = (
    "import sys;sys.path[:0]=sys.argv.pop().split(':');sys.modules['typing_extensions']=None;"
    "from wherry.network.resolver.main import main;main()"
)


class _Served(msgspec.Struct, frozen=True):
    """A container that is answered; ``pid`` 0 while it is being started."""

    view: View
    pid: int = 0


@dataclass(slots=True)
class _Ports:
    """Ports of a container that are listened on; ``pid`` 0 while it is being started."""

    pid: int = 0
    by_name: dict[str, Listening] = field(default_factory=dict)


class ResolverClient:
    """Implements :class:`wherry.network.api.Resolver`. Safe to call from several threads."""

    def __init__(self, directory: str) -> None:
        """``directory``: where the socket is; of root's, and of one engine."""
        self._directory = directory
        self._lock = threading.RLock()
        self._served: dict[str, _Served] = {}
        self._members: dict[tuple[str, str], Member] = {}
        self._ports: dict[str, _Ports] = {}
        self._connection: socket.socket | None = None
        self._closed = False
        self._left: socket.socket | None = None  # the connection that close() parted with

    # What the engine tells

    def restore(
        self,
        served: Iterable[tuple[View, int]],
        members: Iterable[Member],
        ports: Mapping[str, tuple[int, Sequence[Listening]]],
    ) -> None:
        """Take up what an earlier engine left: the containers that run, with their processes.

        A resolver that is there goes on with the sockets it has."""
        with self._lock:
            self._ports = {
                container_id: _Ports(pid, {name_of(one.port): one for one in found})
                for container_id, (pid, found) in ports.items()
            }
            self._served = {view.container_id: _Served(view, pid) for view, pid in served}
            self._members = {(one.network_id, one.container_id): one for one in members}
            self._connection = self._connected()
            if self._is_needed or self._connection:
                self._restart()

    def announce(self, member: Member) -> None:
        """See :class:`wherry.network.api.Resolver`."""
        request = protocol.Announce(member)
        _check_size(request)
        with self._lock:
            self._members[member.network_id, member.container_id] = member
            if self._connection:
                self._retrying(lambda: self._exchange(request))

    def withdraw(self, network_id: str, container_id: str) -> None:
        """Idempotent."""
        with self._lock:
            if self._members.pop((network_id, container_id), None):
                self._mention(protocol.Withdraw(network_id, container_id))

    def serve(self, view: View, sandbox: Sandbox) -> None:
        """See :class:`wherry.network.api.Resolver`."""
        _check_size(protocol.Serve(view))
        with self._lock:
            known = self._served.get(view.container_id, _Served(view))
            self._served[view.container_id] = replace_struct(known, view=view)
            try:
                self._retrying(
                    lambda: (
                        self._exchange(protocol.Serve(view)) or self._give_sockets(view, sandbox)
                    )
                )
            except BaseException:
                self._served.pop(view.container_id)
                raise

    def listen(self, container_id: str, ports: Sequence[Listening]) -> None:
        """See :class:`wherry.network.api.Resolver`."""
        if not ports:
            return
        with self._lock:
            known = self._ports.setdefault(container_id, _Ports())
            for one in ports:
                self._retrying(partial(self._lead, container_id, one))
                # A new resolver is told what is remembered here, so this comes last.
                known.by_name[name_of(one.port)] = replace_struct(one, socket=-1)
            if known.pid:
                self._retrying(lambda: self._follow(container_id, known.pid))

    def unlisten(self, container_id: str, ports: Sequence[PublishedPort] | None = None) -> None:
        """See :class:`wherry.network.api.Resolver`."""
        with self._lock:
            known = self._ports.get(container_id)
            if known is None:
                return
            names = list(known.by_name) if ports is None else [name_of(one) for one in ports]
            gone = [name for name in names if known.by_name.pop(name, None)]
            if not known.by_name:
                del self._ports[container_id]
            for name in gone:
                self._mention(protocol.Unlisten(container_id, name))

    def follow(self, container_id: str, pid: int) -> None:
        """See :class:`wherry.network.api.Resolver`; by it the namespace is found again."""
        with self._lock:
            served, ports = self._served.get(container_id), self._ports.get(container_id)
            if ports:
                ports.pid = pid
            if served:
                self._served[container_id] = replace_struct(served, pid=pid)
            if not served and not ports:
                return
            try:
                self._follow_or_renew(container_id, pid)
            except OSError:
                self._drop_connection()
                self._restart()

    def forget(self, container_id: str) -> None:
        """Answer a container no more. Idempotent."""
        with self._lock:
            if self._served.pop(container_id, None):
                self._mention(protocol.Forget(container_id))

    def purge(self) -> None:
        """Answer nobody any more; the process ends."""
        with self._lock:
            self._members.clear()
            for container_id in list(self._served):
                self.forget(container_id)
            for container_id in list(self._ports):
                self.unlisten(container_id)
        self.close()

    def close(self) -> None:
        """Part from the resolver; it goes on while there are containers."""
        with self._lock:
            self._closed = True
            self._left = self._left or self._connection
            self._drop_connection()

    # The process

    @property
    def _is_needed(self) -> bool:
        return bool(self._served or self._ports)

    def _tell_all(self) -> None:
        """Everything, to a resolver that may be new. InternalError."""
        reason = ""
        for _ in range(_RESTARTS):
            is_new = self._connection is None
            try:
                self._tell_one()
            except OSError as error:
                _LOG.warning("the resolver failed: %s", error)
                self._drop_connection()
                reason = str(error)
                if is_new and isinstance(error, TimeoutError):
                    break  # the next one would take as long, and who starts a container waits
            else:
                return
        raise InternalError(f"the embedded resolver cannot be started: {reason}")

    def _tell_one(self) -> None:
        """OSError if the resolver ends, or does not answer."""
        if self._connection is None:
            self._connection = self._start()
        self._exchange(protocol.Begin())
        self._connection.settimeout(_PATIENCE)
        self._exchange_all([protocol.Announce(one) for one in self._members.values()])
        all_served = list(self._served.values())
        held = self._exchange_all([protocol.Serve(one.view) for one in all_served])
        for served, is_held in zip(all_served, held, strict=True):
            if not is_held:
                self._renew(served)
        for container_id, ports in self._ports.items():
            self._renew_ports(container_id, ports)
        self._exchange(protocol.End())

    def _renew(self, served: _Served) -> None:
        """Serve a container by new sockets, if it runs."""
        if not served.pid:
            return
        try:
            sandbox = open_sandbox(served.pid)
            try:
                self._give_sockets(served.view, sandbox)
            finally:
                sandbox.close()
            self._follow(served.view.container_id, served.pid)
        except WherryError as error:
            # It may just have ended; its end is told soon.
            _LOG.info("container %s is not answered: %s", served.view.container_id[:12], error)

    def _lead(self, container_id: str, one: Listening) -> None:
        """Over the socket that comes along, or that is there, or a new one."""
        target = protocol.Target(one.address, one.port.container_port)
        request = protocol.Listen(container_id, name_of(one.port), target)
        if one.socket >= 0:
            self._exchange(request, [one.socket])
        elif not self._exchange(request):
            descriptor = bind_again(one.port)
            try:
                self._exchange(request, [descriptor])
            finally:
                os.close(descriptor)

    def _renew_ports(self, container_id: str, ports: _Ports) -> None:
        for one in ports.by_name.values():
            try:
                self._lead(container_id, one)
            except WherryError as error:  # somebody has taken it meanwhile
                _LOG.warning("a port of container %s is lost: %s", container_id[:12], error)
        if ports.pid:
            self._follow(container_id, ports.pid)

    def _give_sockets(self, view: View, sandbox: Sandbox) -> bool:
        sockets = make_sockets(sandbox.netns_fd)
        try:
            descriptors = [sockets.udp.fileno(), sockets.tcp.fileno()]
            return self._exchange(protocol.Serve(view), descriptors)
        finally:
            sockets.close()

    def _follow_or_renew(self, container_id: str, pid: int) -> None:
        """The resolver may be a new one since the container was first served."""
        if not self._follow(container_id, pid) and container_id in self._served:
            self._renew(self._served[container_id])

    def _follow(self, container_id: str, pid: int) -> bool:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            return self._exchange(protocol.Follow(container_id), [pidfd])
        finally:
            os.close(pidfd)

    def _mention(self, request: protocol.Request) -> None:
        """Say what must not fail: it is about something that is over. A new resolver, if this one
        has ended, does not know of it."""
        if self._connection is None:
            return
        try:
            self._exchange(request)
        except OSError:
            self._drop_connection()
            if self._is_needed:
                self._restart()

    def _retrying(self, action: Callable[[], object]) -> None:
        """Do it; if the resolver has ended, with a new one, which is told everything before."""
        try:
            if self._connection is None:
                self._tell_all()
            action()
        except OSError:
            self._drop_connection()
            self._tell_all()
            try:
                action()
            except OSError as error:
                raise InternalError(f"the embedded resolver does not answer: {error}") from error

    def _exchange(self, request: protocol.Request, descriptors: Iterable[int] = ()) -> bool:
        """OSError if the resolver has ended."""
        self._send(request, descriptors)
        return self._answer()

    def _send(self, request: protocol.Request, descriptors: Iterable[int] = ()) -> None:
        if self._connection is None:
            raise ConnectionResetError("there is no resolver")
        socket.send_fds(self._connection, [protocol.encode(request)], list(descriptors))

    def _answer(self) -> bool:
        assert self._connection is not None
        answer = self._connection.recv(protocol.PACKET_LIMIT)
        if not answer:
            raise ConnectionResetError("the resolver has ended")
        try:
            return protocol.decode_answer(answer).held
        except msgspec.DecodeError as error:
            raise ConnectionResetError("the resolver does not make sense") from error

    def _exchange_all(self, requests: Sequence[protocol.Request]) -> list[bool]:
        """Several at a time, which spares waiting for each. OSError."""
        answers: list[bool] = []
        for start in range(0, len(requests), _TOGETHER):
            some = requests[start : start + _TOGETHER]
            for request in some:
                self._send(request)
            answers += [self._answer() for _ in some]
        return answers

    def _drop_connection(self) -> None:
        if self._connection:
            # The watching thread, which waits for the end of it, is woken by this.
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._connection = None

    def _connected(self, process: subprocess.Popen[bytes] | None = None) -> socket.socket | None:
        """A connection to the resolver, also to one that an earlier engine started; None without
        one."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(_START_PATIENCE if process else _PATIENCE)
        try:
            with _path_of_socket(self._directory) as path:
                connection.connect(path)
        except OSError:
            connection.close()
            return None
        self._watch(connection, process)
        return connection

    def _start(self) -> socket.socket:
        with _listener(self._directory) as listener:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, str(listener.fileno()), _modules()],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        connection = self._connected(process)
        if connection is None:
            raise ConnectionRefusedError("the resolver cannot be reached")
        _LOG.info("started the resolver, process %d", process.pid)
        return connection

    def _watch(self, connection: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        thread = threading.Thread(
            target=self._wait_for_end,
            args=(connection, connection.dup(), process),
            name="wherry-resolver-watch",
            daemon=True,
        )
        thread.start()

    def _wait_for_end(
        self,
        connection: socket.socket,
        copy: socket.socket,
        process: subprocess.Popen[bytes] | None,
    ) -> None:
        """In a thread: when the resolver ends, start another if anybody needs one."""
        poll = select.poll()
        poll.register(copy, select.POLLRDHUP)
        poll.poll()
        copy.close()
        with self._lock:
            parting = self._left is connection
        # One that failed is ended also if close() was quicker than this thread.
        if process and not parting:
            _bury(process)
        with self._lock:
            if self._connection is not connection:
                return
            self._drop_connection()
            if self._is_needed and not self._closed:
                self._restart()

    def _restart(self) -> None:
        """Where a resolver that cannot be had must not stop anything else."""
        try:
            self._tell_all()
        except (OSError, WherryError) as error:
            _LOG.error("containers' names are not answered: %s", error)


def name_of(port: PublishedPort) -> str:
    """What a port is called between engine and resolver."""
    return f"{port.protocol} {port.host_ip} {port.host_port}"


def _check_size(request: protocol.Request) -> None:
    if len(protocol.encode(request)) > protocol.PACKET_LIMIT:
        raise InvalidArgument("a container has too many names: its aliases and links are too long")


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Reap a resolver that hung up. One that still runs does not answer, and another one will."""
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _path_of_socket(directory: str) -> Iterator[str]:
    """A path of the socket that is short whatever the directory's is (108 bytes at most)."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{protocol.SOCKET_NAME}"
    finally:
        os.close(fd)


def _listener(directory: str) -> socket.socket:
    """A new socket in place of one that nobody listens to any more."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _path_of_socket(directory) as path:
            with suppress(FileNotFoundError):
                os.unlink(path)
            listener.bind(path)
            os.chmod(path, 0o600)
        listener.listen(1)
    except BaseException:
        listener.close()
        raise
    return listener


def _modules() -> str:
    return ":".join(os.path.abspath(entry) for entry in sys.path if entry)
