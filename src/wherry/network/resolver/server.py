"""Answers containers by the sockets that were made in their namespaces."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from wherry.network.resolver import message as dns
from wherry.network.resolver.answering import own_answer
from wherry.network.resolver.following import Follower
from wherry.network.resolver.forward import Forwarder, HostServers
from wherry.network.resolver.loop import READ, WRITE, Loop, Timer
from wherry.network.resolver.protocol import View
from wherry.network.resolver.table import NameTable

_PENDING = 256  # forwarded queries of one container at once
_CONVERSATIONS = 32  # connections of one container at once
_IDLE = 10.0  # seconds a connection may say nothing
_BATCH = 32  # packets of one container before the others have their turn


class Names:
    """The table in force, and how to look beyond it; shared by all containers."""

    def __init__(self, loop: Loop, host_servers: HostServers) -> None:
        self.loop = loop
        self.table = NameTable()
        self.forwarder = Forwarder(loop)
        self.host_servers = host_servers


class Container:
    """One container: its sockets, its view, and what it waits for."""

    def __init__(self, names: Names, view: View, udp: socket.socket, tcp: socket.socket) -> None:
        self.view = view
        self._names = names
        self._udp = udp
        self._tcp = tcp
        self._pending = 0
        self._conversations: set[_Conversation] = set()
        self.follower = Follower(names.loop)
        self._closed = False
        names.loop.watch(udp, READ, self._on_packets)
        names.loop.watch(tcp, READ, self._on_connection)

    def close(self) -> None:
        self._closed = True
        self.follower.close()
        for conversation in list(self._conversations):
            conversation.close()
        for one in (self._udp, self._tcp):
            self._names.loop.unwatch(one)
            one.close()

    def _on_packets(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet, address = self._udp.recvfrom(dns.MESSAGE_LIMIT)
            except OSError:
                return
            self.answer(packet, dns.UDP_SIZE, self._sender(address))

    def _sender(self, address: Any) -> Callable[[bytes], None]:
        def send(answer: bytes) -> None:
            try:
                if not self._closed:
                    self._udp.sendto(answer, address)
            except OSError:
                pass  # a full buffer loses it, as the network might

        return send

    def answer(
        self, packet: bytes, limit: int, send: Callable[[bytes], None], *, stream: bool = False
    ) -> None:
        """Answer now, or when others have answered; not at all what makes no sense."""
        try:
            question = dns.parse_question(packet)
        except dns.Malformed:
            if len(packet) >= 12 and not packet[2] & 0x80:
                send(dns.failure(packet, None, dns.FORMAT_ERROR))
            return
        own = own_answer(self._names.table, self.view, packet, question, limit)
        if own is not None:
            send(own)
            return
        self._forward(packet, question, send, stream)

    def _forward(
        self, packet: bytes, question: dns.Question, send: Callable[[bytes], None], stream: bool
    ) -> None:
        failure = dns.failure(packet, question, dns.SERVER_FAILURE)
        if not self.view.forward or self._pending >= _PENDING:
            send(failure)
            return
        self._pending += 1

        def reply(answer: bytes | None) -> None:
            self._pending -= 1
            send(failure if answer is None else answer)

        servers = self.view.servers or self._names.host_servers.get()
        self._names.forwarder.ask(packet, question, servers, reply, stream=stream)

    def _on_connection(self, _: int) -> None:
        try:
            connection, _address = self._tcp.accept()
        except OSError:
            return
        if len(self._conversations) >= _CONVERSATIONS:
            connection.close()
            return
        connection.setblocking(False)
        _Conversation(self, connection, self._names.loop, self._conversations)


class _Conversation:
    """A container's TCP connection: one query after the other."""

    def __init__(
        self,
        container: Container,
        connection: socket.socket,
        loop: Loop,
        register: set[_Conversation],
    ) -> None:
        self._container = container
        self._connection = connection
        self._loop = loop
        self._register = register
        self._in = bytearray()
        self._out = b""
        self._closed = False
        self._timer: Timer = loop.after(_IDLE, self.close)
        register.add(self)
        loop.watch(connection, READ, self._on_event)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._timer.cancel()
            self._register.discard(self)
            self._loop.unwatch(self._connection)
            self._connection.close()

    def _on_event(self, events: int) -> None:
        try:
            if events & WRITE:
                self._send()
            else:
                self._receive()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _receive(self) -> None:
        data = self._connection.recv(4096)
        if not data:
            raise ConnectionResetError
        self._in += data
        self._next_query()

    def _next_query(self) -> None:
        size = 2 + int.from_bytes(self._in[:2], "big")
        if len(self._in) < 2 or len(self._in) < size:
            self._loop.watch(self._connection, READ, self._on_event)
            return
        query = bytes(self._in[2:size])
        del self._in[:size]
        self._loop.unwatch(self._connection)  # until this one is answered
        self._rest()
        self._container.answer(query, dns.MESSAGE_LIMIT, self._reply, stream=True)

    def _rest(self) -> None:
        """Somebody does something: the time begins anew."""
        self._timer.cancel()
        self._timer = self._loop.after(_IDLE, self.close)

    def _reply(self, answer: bytes) -> None:
        if not self._closed:
            self._rest()
            self._out = len(answer).to_bytes(2, "big") + answer
            self._loop.watch(self._connection, WRITE, self._on_event)

    def _send(self) -> None:
        self._out = self._out[self._connection.send(self._out) :]
        if not self._out:
            self._next_query()
