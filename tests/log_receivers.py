"""Receivers of log messages for tests: real sockets that keep what they are sent."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.patience import patience

PATIENCE = patience(20.0)
Serve = Callable[[socket.socket, Callable[[bytes], None]], None]


class Receiver:
    """``take()`` waits for the next message."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: queue.Queue[bytes] = queue.Queue()

    def take(self) -> bytes:
        return self.messages.get(timeout=PATIENCE)

    def take_some(self, count: int) -> list[bytes]:
        return [self.take() for _ in range(count)]

    def so_far(self) -> list[bytes]:
        return [self.messages.get() for _ in range(self.messages.qsize())]


@contextmanager
def datagrams(path: Path | None = None) -> Iterator[Receiver]:
    """UDP on loopback, or a Unix datagram socket at ``path``."""
    family = socket.AF_INET if path is None else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0) if path is None else str(path))
        where = f"udp://127.0.0.1:{sock.getsockname()[1]}" if path is None else f"unixgram://{path}"
        receiver = Receiver(where)

        def receive() -> None:
            while data := sock.recv(1 << 20):
                receiver.messages.put(data)

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            yield receiver
        finally:
            with socket.socket(family, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join()


def by_lines(end: bytes) -> Serve:
    """Messages end with ``end``."""

    def serve(connection: socket.socket, put: Callable[[bytes], None]) -> None:
        rest = b""
        while data := connection.recv(65536):
            *whole, rest = (rest + data).split(end)
            for message in whole:
                put(message)

    return serve


def counted(connection: socket.socket, put: Callable[[bytes], None]) -> None:
    """RFC 5425: the length in digits and a space go before each message."""
    with connection.makefile("rb") as file:
        while length := b"".join(iter(lambda: file.read(1), b" ") if file.peek() else ()):
            put(file.read(int(length)))


def forward(connection: socket.socket, put: Callable[[bytes], None]) -> None:
    """Fluentd's: arrays of msgpack; answers those that ask for it. Keeps each as JSON."""
    data = b""
    while more := connection.recv(65536):
        data += more
        while event := _first_event(data):
            found, size = event
            data = data[size:]
            put(msgspec.json.encode(found))
            if len(found) > 3:
                connection.sendall(msgspec.msgpack.encode({"ack": found[3]["chunk"]}))


def _first_event(data: bytes) -> tuple[list[object], int] | None:
    """The first whole event and its size."""

    def times(code: int, raw: memoryview) -> object:
        seconds, fraction = int.from_bytes(raw[:4], "big"), int.from_bytes(raw[4:], "big")
        return {"ext": code, "seconds": seconds, "fraction": fraction}

    decoder = msgspec.msgpack.Decoder(ext_hook=times)
    for size in range(1, len(data) + 1):
        try:
            return decoder.decode(data[:size]), size
        except msgspec.DecodeError:
            continue
    return None


@contextmanager
def streams(
    serve: Serve,
    path: Path | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    scheme: str = "tcp",
    port: int = 0,
) -> Iterator[Receiver]:
    """TCP on loopback (with TLS), or a Unix stream socket at ``path``."""
    with socket.socket(socket.AF_INET if path is None else socket.AF_UNIX) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port) if path is None else str(path))
        listener.listen()
        number = listener.getsockname()[1] if path is None else 0
        where = f"{scheme}://127.0.0.1:{number}" if path is None else f"unix://{path}"
        receiver = Receiver(where)
        open_ones: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    if tls is not None:
                        connection = tls.wrap_socket(
                            connection, server_side=True, suppress_ragged_eofs=False
                        )
                except ssl.SSLError:
                    continue
                except OSError:
                    return
                open_ones.append(connection)
                threading.Thread(target=handle, args=(connection,)).start()

        def handle(connection: socket.socket) -> None:
            try:
                serve(connection, receiver.messages.put)
            except OSError:
                pass
            finally:
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield receiver
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_ones:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
