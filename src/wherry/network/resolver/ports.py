"""Published ports of containers that this process listens on."""

from __future__ import annotations

import socket
from collections.abc import Collection

from wherry.network.resolver.datagrams import UdpListener
from wherry.network.resolver.following import Follower
from wherry.network.resolver.loop import Loop
from wherry.network.resolver.protocol import Target
from wherry.network.resolver.relay import TcpListener


class Ports:
    """Those of one container, by the name that the engine gave each."""

    def __init__(self, loop: Loop) -> None:
        self.follower = Follower(loop)
        self._loop = loop
        self._listeners: dict[str, TcpListener | UdpListener] = {}

    def __bool__(self) -> bool:
        return bool(self._listeners)

    def lead(self, name: str, target: Target) -> bool:
        """Lead a port elsewhere; False if it is not there."""
        listener = self._listeners.get(name)
        if listener:
            listener.target = (target.address, target.port)
        return listener is not None

    def take(self, name: str, target: Target, descriptor: int) -> None:
        """Take over a bound socket, which listens if it is of TCP."""
        self.drop(name)
        one = socket.socket(fileno=descriptor)
        kind = TcpListener if one.type == socket.SOCK_STREAM else UdpListener
        self._listeners[name] = kind(self._loop, one, (target.address, target.port))

    def drop(self, name: str) -> None:
        """Idempotent."""
        listener = self._listeners.pop(name, None)
        if listener:
            listener.close()

    def keep_only(self, names: Collection[str]) -> None:
        for name in set(self._listeners) - set(names):
            self.drop(name)

    def close(self) -> None:
        self.follower.close()
        self.keep_only(())
