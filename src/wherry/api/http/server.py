"""Listening sockets and the connections that come from them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from wherry.api.http.connection import Connection, Handler
from wherry.api.http.tls import TlsLink

_BACKLOG = 512


class HttpServer:
    """Serves ``handler`` on any number of sockets, which it owns from then on."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: set[Connection] = set()
        self._listeners: list[asyncio.Server] = []

    async def listen(
        self, sock: socket.socket, *, tls: ssl.SSLContext | None = None, realm: str = ""
    ) -> None:
        """Serve a bound stream socket, Unix or TCP. ``realm`` is what requests that come by it are
        marked with."""
        loop = asyncio.get_running_loop()
        factory = self._factory(tls, realm)
        if sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(factory, sock=sock, backlog=_BACKLOG)
        else:
            server = await loop.create_server(factory, sock=sock, backlog=_BACKLOG)
        self._listeners.append(server)

    def _factory(
        self, tls: ssl.SSLContext | None, realm: str
    ) -> Callable[[], asyncio.BaseProtocol]:
        def plain() -> Connection:
            return Connection(self._handler, self._connections, realm)

        return plain if tls is None else lambda: TlsLink(tls, plain)

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def close(self, grace: float = 5.0) -> None:
        """Stop listening, end streams at once, give short requests ``grace`` seconds."""
        for listener in self._listeners:
            listener.close()
        tasks = [task for c in tuple(self._connections) if (task := c.shut_down()) is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for connection in tuple(self._connections):
            connection.transport.abort()
