"""Rows of throughput: how fast what a container prints reaches a client."""

from __future__ import annotations

import socket
import time

from bench.engines.base import Engine
from bench.image import NAME
from bench.processes import CommandError
from bench.rows.base import Row

_SIZE = 200_000_000
_LINE = 100  # bytes with the newline
_MB = 1_000_000
_SCRIPT = f"read go; yes {'x' * (_LINE - 1)} | head -c {_SIZE}"


class Printed(Row):
    """A container writes 200 MB of lines; until a client has read all of them, MB/s."""

    unit = "MB/s"
    more_is_better = True
    target = 1.0
    rounds_at_most = 3

    def __init__(self, key: str, title: str, path: str, driver: str = "") -> None:
        self.key, self.title = key, title
        self._path = path
        self._driver = driver  # of the log; empty: the engine's own choice

    def sample(self, engine: Engine, setting: object) -> float:
        api = engine.api()
        body = {
            "Image": NAME,
            "Cmd": ["sh", "-c", _SCRIPT],
            "OpenStdin": True,
            "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": self._driver}},
        }
        container = str(api.call("POST", "/containers/create", body)["Id"])
        try:
            api.start(container)
            return self._measured(engine, container)
        finally:
            api.remove(container)

    def _measured(self, engine: Engine, container: str) -> float:
        typing = f"POST /containers/{container}/attach?stream=1&stdin=1"
        reading = self._path.format(container)
        with _opened(engine, typing) as typist, _opened(engine, reading) as reader:
            started = time.perf_counter()
            typist.sendall(b"go\n")
            received = _read(reader)
            elapsed = time.perf_counter() - started
        if received < _SIZE:
            raise CommandError(f"only {received} of {_SIZE} bytes arrived")
        return _SIZE / elapsed / _MB


_LOGS = "GET /containers/{}/logs?stdout=1&stderr=1&follow=1"
_ATTACH = "POST /containers/{}/attach?stream=1&stdout=1&stderr=1"

STREAM_ROWS = (
    Printed("logs-follow", "logs -f of 200 MB", _LOGS),
    Printed("logs-follow-json", "logs -f of 200 MB, json-file", _LOGS, "json-file"),
    Printed("attach", "attach to a writer of 200 MB", _ATTACH),
    Printed("attach-json", "attach to a writer of 200 MB, json-file", _ATTACH, "json-file"),
)


def _opened(engine: Engine, line: str) -> socket.socket:
    """A connection that asks for ``METHOD TARGET`` and whose answer has begun."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(120)
    sock.connect(str(engine.socket))
    head = f"{line} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    sock.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        if not piece:
            raise CommandError(f"{line}: {answer[:200]!r}")
        answer += piece
    return sock


def _read(sock: socket.socket) -> int:
    """Everything up to the end, looked at as little as possible."""
    buffer = bytearray(1 << 20)
    total = 0
    while size := sock.recv_into(buffer):
        total += size
        if buffer[:size].endswith(b"0\r\n\r\n"):
            break  # the last chunk of HTTP
    return total
