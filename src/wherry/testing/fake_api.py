"""An HTTP server on a unix socket whose answers a test writes: for tests of API clients.

Real sockets and real HTTP, no engine: ``api.on("GET", "/info", json={...})`` says what is answered,
``api.requests`` has what was asked.
"""

from __future__ import annotations

import json as json_module
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What a client asked. ``query`` has the last value of each name, ``queries`` all."""

    method: str
    path: str
    queries: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in self.queries.items()}

    @property
    def json(self) -> Any:
        return json_module.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the server answers. ``chunks`` is sent chunked, as it is produced; ``takeover`` gets
    the socket after an answer 101."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Iterable[bytes] | None = None
    takeover: Callable[[socket.socket, Request], None] | None = None


Handler = Callable[[Request], Answer]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    api: FakeApi

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(cast(Any, request), client_address)


class FakeApi:
    """The server. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.requests: list[Request] = []
        self.connections = 0
        self._handlers: dict[tuple[str, str], Handler] = {}
        self._server = _Server(str(path), _Handler)
        self._server.api = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> FakeApi:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        status: int = 200,
        lines: Iterable[object] | None = None,
        takeover: Callable[[socket.socket, Request], None] | None = None,
        handler: Handler | None = None,
    ) -> None:
        """Answer with JSON, with JSON lines, with a raw stream, or as ``handler`` says."""
        body = b"" if json is None else json_module.dumps(json).encode()
        chunks = None if lines is None else [json_module.dumps(x).encode() + b"\r\n" for x in lines]
        fixed = Answer(status=status, body=body, chunks=chunks, takeover=takeover)
        self._handlers[method, path] = handler or (lambda _: fixed)

    def fail(self, method: str, path: str, status: int, message: str) -> None:
        self.on(method, path, status=status, json={"message": message})

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        handler = self._handlers.get((request.method, request.path))
        if handler is None:
            missing = f"the test has no answer for {request.method} {request.path}"
            return Answer(status=404, body=json_module.dumps({"message": missing}).encode())
        return handler(request)

    def asked(self, method: str, path: str) -> Request:
        """The last such request; AssertionError if there was none."""
        found = [r for r in self.requests if (r.method, r.path) == (method, path)]
        assert found, f"nobody asked {method} {path}"
        return found[-1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self._api.connections += 1

    @property
    def _api(self) -> FakeApi:
        return cast(_Server, self.server).api

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """A test's output is its own."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        queries = parse_qs(parts.query, keep_blank_values=True)
        request = Request(self.command, unquote(parts.path), queries, headers, self._body())
        self._send(request, self._api.answer(request))

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815  # http.server's names

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, request: Request, answer: Answer) -> None:
        self.send_response(101 if answer.takeover else answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.takeover:
            self._take_over(request, answer.takeover)
        elif answer.chunks is not None:
            self._send_chunks(answer.chunks)
        else:
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if request.method != "HEAD":
                self.wfile.write(answer.body)

    def _take_over(
        self, request: Request, takeover: Callable[[socket.socket, Request], None]
    ) -> None:
        self.send_header("Upgrade", "tcp")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        takeover(self.connection, request)
        self.close_connection = True

    def _send_chunks(self, chunks: Iterable[bytes]) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def frame(kind: int, data: bytes) -> bytes:
    """One frame of a stream without a terminal."""
    return bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data
