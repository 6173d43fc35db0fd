"""The engine's orders, and the end of the process when there is nothing left to answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import msgspec

from wherry.network.resolver import protocol
from wherry.network.resolver.following import Follower
from wherry.network.resolver.loop import READ, Loop, Timer
from wherry.network.resolver.ports import Ports
from wherry.network.resolver.server import Container, Names
from wherry.network.resolver.table import NameTable

LINGER = 3.0
"""Seconds without a container before the process ends, while an engine is there that may start
the next one."""
_DESCRIPTORS = 2


class Control:
    """Hears one engine at a time; a new one takes the place of the one before."""

    def __init__(self, loop: Loop, names: Names, listener: socket.socket) -> None:
        self._loop = loop
        self._names = names
        self._listener = listener
        self._engine: socket.socket | None = None
        self._containers: dict[str, Container] = {}
        self._ports: dict[str, Ports] = {}
        self._coming: NameTable | None = None  # between Begin and End
        self._told: set[str] = set()
        self._told_ports: dict[str, set[str]] = {}
        self._over: set[str] = set()  # containers whose process has ended
        self._end: Timer = loop.after(LINGER, loop.stop)
        listener.setblocking(False)
        loop.watch(listener, READ, self._on_connection)

    def _on_connection(self, _: int) -> None:
        try:
            connection, _address = self._listener.accept()
        except OSError:
            return
        self._hang_up()
        connection.setblocking(False)
        self._engine = connection
        self._loop.watch(connection, READ, self._on_packet)
        self._stay_or_end()

    def _hang_up(self) -> None:
        if self._engine:
            self._loop.unwatch(self._engine)
            self._engine.close()
            self._engine = None
            self._coming = None
            self._drop_over()

    def _on_packet(self, _: int) -> None:
        assert self._engine is not None
        descriptors: list[int] = []
        try:
            data, descriptors, flags, _address = socket.recv_fds(
                self._engine, protocol.PACKET_LIMIT, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
            if not data or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise ConnectionResetError
            held = self._obey(protocol.decode_request(data), descriptors)
            self._engine.send(protocol.encode(protocol.Answer(held)))
        except BlockingIOError:
            return
        except (OSError, msgspec.DecodeError):
            self._hang_up()
        finally:
            for descriptor in descriptors:  # those that nobody took
                os.close(descriptor)
        self._stay_or_end()

    def _stay_or_end(self) -> None:
        self._end.cancel()
        if not self._containers and not self._ports:
            self._end = self._loop.after(LINGER if self._engine else 0.0, self._loop.stop)

    def _obey(self, request: protocol.Request, descriptors: list[int]) -> bool:
        match request:
            case protocol.Begin():
                self._coming, self._told, self._told_ports = NameTable(), set(), {}
            case protocol.End():
                self._settle()
            case protocol.Announce(member):
                (self._coming or self._names.table).put(member)
            case protocol.Withdraw(network_id, container_id):
                (self._coming or self._names.table).drop(network_id, container_id)
            case protocol.Serve(view):
                return self._serve(view, descriptors)
            case protocol.Listen(container_id, name, target):
                return self._listen(container_id, name, target, descriptors)
            case protocol.Unlisten(container_id, name):
                self._unlisten(container_id, name)
            case protocol.Follow(container_id):
                return self._follow(container_id, descriptors)
            case protocol.Forget(container_id):
                self._forget(container_id)
        return True

    def _settle(self) -> None:
        if self._coming is not None:
            self._names.table, self._coming = self._coming, None
            for container_id in set(self._containers) - self._told:
                self._forget(container_id)
            for container_id, ports in list(self._ports.items()):
                ports.keep_only(self._told_ports.get(container_id, ()))
                self._drop_empty(container_id)

    def _serve(self, view: protocol.View, descriptors: list[int]) -> bool:
        container = self._containers.get(view.container_id)
        self._told.add(view.container_id)
        if len(descriptors) == _DESCRIPTORS:
            if container:
                container.close()
            udp, tcp = (socket.socket(fileno=one) for one in descriptors)
            descriptors.clear()
            udp.setblocking(False)
            tcp.setblocking(False)
            self._containers[view.container_id] = Container(self._names, view, udp, tcp)
            return True
        if container:
            container.view = view
        return container is not None

    def _listen(
        self, container_id: str, name: str, target: protocol.Target, descriptors: list[int]
    ) -> bool:
        self._told_ports.setdefault(container_id, set()).add(name)
        if len(descriptors) == 1:
            ports = self._ports.setdefault(container_id, Ports(self._loop))
            ports.take(name, target, descriptors.pop())
            return True
        known = self._ports.get(container_id)
        return known is not None and known.lead(name, target)

    def _unlisten(self, container_id: str, name: str) -> None:
        if ports := self._ports.get(container_id):
            ports.drop(name)
            self._drop_empty(container_id)

    def _drop_empty(self, container_id: str) -> None:
        ports = self._ports.get(container_id)
        if ports is not None and not ports:
            self._ports.pop(container_id).close()

    def _followers(self) -> Iterator[tuple[str, Follower]]:
        for holders in (self._containers, self._ports):
            for container_id, holder in holders.items():
                yield container_id, holder.follower

    def _follow(self, container_id: str, descriptors: list[int]) -> bool:
        wanted = [one for known, one in self._followers() if known == container_id]
        if len(descriptors) == 1:
            for follower in wanted:
                follower.follow(os.dup(descriptors[0]), lambda: self._ended(container_id))
        return bool(wanted)

    def _ended(self, container_id: str) -> None:
        self._over.add(container_id)
        if self._engine is None:
            self._drop_over()
            self._stay_or_end()

    def _drop_over(self) -> None:
        """The engine itself says when a container's network is gone; this is for its absence.
        Containers whose process was never told of were being started: they come to nothing."""
        starting = [one for one, follower in self._followers() if not follower.is_following]
        for container_id in {*self._over, *starting}:
            self._forget(container_id)
            if ports := self._ports.pop(container_id, None):
                ports.close()

    def _forget(self, container_id: str) -> None:
        self._over.discard(container_id)
        container = self._containers.pop(container_id, None)
        if container:
            container.close()


def serve(listener: socket.socket, loop: Loop, names: Names) -> None:
    """Until there is nothing left to do."""
    Control(loop, names, listener)
    loop.run()
