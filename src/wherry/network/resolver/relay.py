"""TCP connections that the packet filter cannot lead to a container: to another address family, or
from the host's own ``::1``."""

from __future__ import annotations

import socket

from wherry.network.resolver.loop import READ, WRITE, Loop, Timer

_CHUNK = 256 * 1024
_CONNECTIONS = 1024  # of one port at once
_PAUSE = 0.1  # seconds
_ACCEPTED = 16  # connections before others have their turn

# Everything is read here and sent on before the next reading: one buffer is enough for all.
_buffer = bytearray(_CHUNK)
_view = memoryview(_buffer)


class TcpListener:
    """A port of the host, and where its connections go."""

    def __init__(self, loop: Loop, listener: socket.socket, target: tuple[str, int]) -> None:
        self.target = target
        self._loop = loop
        self._listener = listener
        self._relays: set[_Relay] = set()
        self._pause: Timer | None = None
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        self._loop.watch(self._listener, READ, self._on_connections)

    def close(self) -> None:
        """Connections end too: their container has ended, or has the port no more."""
        if self._pause:
            self._pause.cancel()
        self._loop.unwatch(self._listener)
        self._listener.close()
        for relay in list(self._relays):
            relay.close()

    def _on_connections(self, _: int) -> None:
        for _ in range(_ACCEPTED):
            try:
                client, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptors left: whoever waits goes on waiting
                self._loop.unwatch(self._listener)
                self._pause = self._loop.after(_PAUSE, self._listen)
                return
            if len(self._relays) >= _CONNECTIONS:
                client.close()
            else:
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        family = socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        try:
            server = socket.socket(family, socket.SOCK_STREAM)
        except OSError:  # no descriptors left
            client.close()
            return
        _Relay(self._loop, client, server, self._relays).connect(self.target)


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.pending = b""
        self.ended = False

    def read(self) -> None:
        """Pass on what there is. BlockingIOError, OSError."""
        size = self.source.recv_into(_buffer)
        if not size:
            self.ended = True
            self.sink.shutdown(socket.SHUT_WR)
            return
        try:
            sent = self.sink.send(_view[:size])
        except BlockingIOError:
            sent = 0
        if sent < size:
            self.pending = bytes(_view[sent:size])

    def write(self) -> None:
        """Send what had to wait. BlockingIOError, OSError."""
        self.pending = self.pending[self.sink.send(self.pending) :]


class _Relay:
    """A client's connection and ours to the container, joined."""

    def __init__(
        self, loop: Loop, client: socket.socket, server: socket.socket, register: set[_Relay]
    ) -> None:
        self._loop = loop
        self._client = client
        self._server = server
        self._ways = (_Way(client, server), _Way(server, client))
        self._register = register
        self._watched: dict[socket.socket, int] = {}
        for one in (client, server):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # some vanish without a word
        register.add(self)

    def connect(self, target: tuple[str, int]) -> None:
        self._server.connect_ex(target)
        self._loop.watch(self._server, WRITE, self._on_connected)

    def _on_connected(self, _: int) -> None:
        if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.close()
            return
        self._loop.unwatch(self._server)
        self._watch()

    def _watch(self) -> None:
        """What is not sent yet stops the reading of more."""
        there, back = self._ways
        if there.ended and back.ended:
            self.close()
            return
        self._watch_one(self._client, there, back)
        self._watch_one(self._server, back, there)

    def _watch_one(self, one: socket.socket, out: _Way, into: _Way) -> None:
        events = 0 if out.ended or out.pending else READ
        events |= WRITE if into.pending else 0
        if events == self._watched.get(one, 0):
            return
        self._watched[one] = events
        if not events:
            self._loop.unwatch(one)
        elif one is self._client:
            self._loop.watch(one, events, self._on_client)
        else:
            self._loop.watch(one, events, self._on_server)

    def _on_client(self, events: int) -> None:
        self._serve(events, *self._ways)

    def _on_server(self, events: int) -> None:
        there, back = self._ways
        self._serve(events, back, there)

    def _serve(self, events: int, out: _Way, into: _Way) -> None:
        try:
            if events & WRITE:
                into.write()
            if events & READ:
                out.read()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch()

    def close(self) -> None:
        self._register.discard(self)
        for one in (self._client, self._server):
            self._loop.unwatch(one)
            one.close()
