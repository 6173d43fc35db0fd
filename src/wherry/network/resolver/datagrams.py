"""UDP that the packet filter cannot lead to a container; see :mod:`.relay`."""

from __future__ import annotations

import socket
import time
from typing import Any

from wherry.network.resolver.loop import READ, Loop, Timer

_IDLE = 90.0  # seconds of silence after which a client is forgotten, as Docker's proxy does
_FLOWS = 1024  # clients of one port at once
_BATCH = 32  # packets before others have their turn
_SIZE = 65535
_IPV6_RECVPKTINFO, _IPV6_PKTINFO = 49, 50  # linux/in6.h
_IP_PKTINFO = 8  # linux/in.h
_ANCILLARY = socket.CMSG_SPACE(64)

_Ancillary = list[tuple[int, int, bytes]]


class UdpListener:
    """A port of the host, and where its packets go."""

    def __init__(self, loop: Loop, listener: socket.socket, target: tuple[str, int]) -> None:
        self.target = target
        self.loop = loop
        self._listener = listener
        self._flows: dict[Any, _Flow] = {}
        self._closed = False
        listener.setblocking(False)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        loop.watch(listener, READ, self._on_packets)

    def close(self) -> None:
        self._closed = True
        self.loop.unwatch(self._listener)
        self._listener.close()
        for flow in list(self._flows.values()):
            flow.close()

    def _on_packets(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet, ancillary, _flags, peer = self._listener.recvmsg(_SIZE, _ANCILLARY)
            except OSError:
                return
            flow = self._flows.get(peer) or self._new_flow(peer, ancillary)
            if flow:
                flow.send(packet)

    def _new_flow(self, peer: Any, ancillary: _Ancillary) -> _Flow | None:
        if len(self._flows) >= _FLOWS:
            return None  # the packet is lost, as on a busy network
        family = socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        try:
            server = socket.socket(family, socket.SOCK_DGRAM)
        except OSError:
            return None
        server.setblocking(False)
        self._flows[peer] = _Flow(self, server, peer, ancillary)
        return self._flows[peer]

    def answer(self, packet: bytes, peer: Any, ancillary: _Ancillary) -> None:
        """Send from the address that the client sent to."""
        try:
            self._listener.sendmsg([packet], ancillary, 0, peer)
        except OSError:
            pass  # a full buffer loses it, as the network might

    def forget(self, peer: Any) -> None:
        self._flows.pop(peer, None)


class _Flow:
    """One client, and the socket by which the container knows it."""

    def __init__(
        self, listener: UdpListener, server: socket.socket, peer: Any, ancillary: _Ancillary
    ) -> None:
        self._listener = listener
        self._server = server
        self._peer = peer
        self._ancillary = [one for one in ancillary if one[1] in (_IPV6_PKTINFO, _IP_PKTINFO)]
        self._seen = time.monotonic()
        self._timer: Timer = listener.loop.after(_IDLE, self._check)
        listener.loop.watch(server, READ, self._on_packets)

    def send(self, packet: bytes) -> None:
        self._seen = time.monotonic()
        try:
            self._server.sendto(packet, self._listener.target)
        except OSError:
            pass

    def _on_packets(self, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet, sender = self._server.recvfrom(_SIZE)
            except OSError:
                return
            if sender[:2] == self._listener.target:
                self._seen = time.monotonic()
                self._listener.answer(packet, self._peer, self._ancillary)

    def _check(self) -> None:
        rest = self._seen + _IDLE - time.monotonic()
        if rest > 0:
            self._timer = self._listener.loop.after(rest, self._check)
        else:
            self.close()

    def close(self) -> None:
        self._timer.cancel()
        self._listener.forget(self._peer)
        self._listener.loop.unwatch(self._server)
        self._server.close()
