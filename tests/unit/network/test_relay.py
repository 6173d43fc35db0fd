"""The relay of TCP connections, in a process of its own."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest
from tests.patience import patience

from wherry.network.resolver.loop import Loop
from wherry.network.resolver.relay import TcpListener

_LONG = patience(20.0)
_WITHOUT = 0.3  # seconds


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A port, and a server that it leads to."""
    nowhere = ("127.0.0.1", 0)
    with socket.create_server(nowhere) as port, socket.create_server(nowhere) as server:
        server.settimeout(_LONG)
        yield port, server


def _serve_poorly(port: socket.socket, target: tuple[str, int]) -> None:
    """Listen, first without a descriptor to spare."""
    loop = Loop()
    TcpListener(loop, port.dup(), target)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    loop.after(_WITHOUT, lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    loop.run()


def test_without_descriptors_callers_wait(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    port, server = sockets
    child = os.fork()
    if not child:
        try:
            _serve_poorly(port, server.getsockname())
        finally:
            os._exit(1)
    try:
        with socket.create_connection(port.getsockname(), _LONG) as one:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"here")
            assert one.recv(10) == b"here"
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
