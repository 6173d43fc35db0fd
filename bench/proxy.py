"""A proxy that knows CONNECT only (RFC 9110, 9.3.6), for builds inside the corner."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_HEAD_LIMIT = 16 * 1024
_CHUNK = 64 * 1024


def serve(server: socket.socket) -> None:
    """Serve in the background, as long as the program runs."""
    threading.Thread(target=_accept, args=(server,), daemon=True).start()


def _accept(server: socket.socket) -> None:
    while True:
        client, _ = server.accept()
        threading.Thread(target=_connect, args=(client,), daemon=True).start()


def _connect(client: socket.socket) -> None:
    with client, suppress(OSError, ValueError):
        method, target, *_ = _head(client).split(b"\r\n", 1)[0].decode("ascii").split(" ")
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as remote:
            remote.settimeout(None)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(remote, client), daemon=True)
            back.start()
            _pump(client, remote)
            back.join()


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(4096)
        head += part
        if not part or len(head) > _HEAD_LIMIT:
            raise ValueError("this is no request")
    return head


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
