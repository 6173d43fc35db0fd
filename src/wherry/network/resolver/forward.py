"""Asking others: one exchange with the upstream servers for each query nobody here can answer.

The process is in the engine's network namespace, so that servers on the host's loopback
(systemd-resolved, dnsmasq) answer as well as any other. Queries and answers pass unchanged but for
their identity, which is random, as is the port; a server that does not answer, or answers that it
cannot, is followed by the next one.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence

from wherry.network.resolver import message as dns
from wherry.network.resolver.loop import READ, WRITE, Loop, Timer

EXCHANGES = 1024
"""At once, each with a socket; what is more is refused."""
SERVERS = 3  # resolv.conf(5), MAXNS
_UDP_PATIENCE, _TCP_PATIENCE = 2.0, 4.0  # seconds for one server
_PORT = 53

Reply = Callable[[bytes | None], None]
"""Gets the answer under the query's own identity; None if no server gave any."""


class Forwarder:
    """All exchanges of the process."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._running = 0

    def ask(
        self,
        query: bytes,
        question: dns.Question,
        servers: Sequence[str],
        reply: Reply,
        *,
        stream: bool,
    ) -> None:
        """``stream``: by TCP, as the container asked."""
        if self._running >= EXCHANGES:
            reply(None)
            return
        self._running += 1

        def done(answer: bytes | None) -> None:
            self._running -= 1
            reply(answer)

        _Exchange(self._loop, query, question, list(servers[:SERVERS]), done, stream).next_server()


class _Exchange:
    """One query, server after server."""

    def __init__(
        self,
        loop: Loop,
        query: bytes,
        question: dns.Question,
        servers: list[str],
        done: Reply,
        stream: bool,
    ) -> None:
        self._loop = loop
        self._identity = query[:2]
        self._query = dns.with_identity(query, os.urandom(2))
        self._question = question
        self._servers = servers
        self._done = done
        self._stream = stream
        self._socket: socket.socket | None = None
        self._timer: Timer | None = None
        self._unwilling: bytes | None = None  # what a server said that could not help
        self._out = b""
        self._in = bytearray()

    def next_server(self) -> None:
        """Ask the next one; without any the exchange is over."""
        self._close()
        while self._servers:
            if self._open(self._servers.pop(0)):
                patience = _TCP_PATIENCE if self._stream else _UDP_PATIENCE
                self._timer = self._loop.after(patience, self.next_server)
                return
        self._done(self._unwilling)

    def _open(self, server: str) -> bool:
        kind = socket.SOCK_STREAM if self._stream else socket.SOCK_DGRAM
        try:
            # Bytes: a text would bring the codec for international names along, 2 MB.
            found = socket.getaddrinfo(
                server.encode(),
                _PORT,
                type=kind,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )[0]
            self._socket = socket.socket(found[0], kind | socket.SOCK_NONBLOCK)
            # Connected, it takes packets from nobody else, and hears of closed ports.
            begun = self._socket.connect_ex(found[4])
            if begun not in (0, errno.EINPROGRESS):
                raise OSError(begun, os.strerror(begun))
            self._begin()
        except OSError:
            self._close()
            return False
        return True

    def _begin(self) -> None:
        assert self._socket is not None
        if self._stream:
            self._out = len(self._query).to_bytes(2, "big") + self._query
            self._in.clear()
            self._loop.watch(self._socket, WRITE, self._on_stream)
        else:
            self._socket.send(self._query)
            self._loop.watch(self._socket, READ, self._on_packet)

    def _on_packet(self, _: int) -> None:
        assert self._socket is not None
        try:
            packet = self._socket.recv(dns.MESSAGE_LIMIT)
        except BlockingIOError:
            return
        except OSError:  # nobody listens there
            self.next_server()
            return
        if dns.is_answer_to(packet, self._query, self._question):
            self._take(packet)

    def _on_stream(self, events: int) -> None:
        try:
            if events & WRITE:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self.next_server()

    def _send(self) -> None:
        assert self._socket is not None
        self._out = self._out[self._socket.send(self._out) :]
        if not self._out:
            self._loop.watch(self._socket, READ, self._on_stream)

    def _receive(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError
        self._in += data
        size = 2 + int.from_bytes(self._in[:2], "big")
        if len(self._in) < 2 or len(self._in) < size:
            return
        packet = bytes(self._in[2:size])
        if not dns.is_answer_to(packet, self._query, self._question):
            raise ConnectionResetError
        self._take(packet)

    def _take(self, packet: bytes) -> None:
        answer = dns.with_identity(packet, self._identity)
        if dns.code_of(packet) in (dns.SERVER_FAILURE, dns.REFUSED) and self._servers:
            self._unwilling = answer
            self.next_server()
            return
        self._close()
        self._done(answer)

    def _close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._socket:
            self._loop.unwatch(self._socket)
            self._socket.close()
            self._socket = None


class HostServers:
    """The servers that the host itself asks, as they are now."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._servers: tuple[str, ...] = ()

    def get(self) -> tuple[str, ...]:
        """Looks at the file again when it has changed; without one there are none."""
        try:
            status = os.stat(self._path)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._servers = _nameservers(self._path)
                self._seen = seen
        except OSError:
            self._servers, self._seen = (), None
        return self._servers


def _nameservers(path: str) -> tuple[str, ...]:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.split() for line in file.read(65536).splitlines()]
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")
