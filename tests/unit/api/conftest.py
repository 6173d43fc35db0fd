"""A real HTTP server on a real Unix socket, in a thread of its own, for each test that asks; and an
engine in memory for it to serve."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.api.app import create_app
from wherry.api.http.connection import Handler
from wherry.api.http.server import HttpServer
from wherry.api.settings import ApiSettings

_PATIENCE = patience(10.0)


class Running:
    """A server and how to reach it."""

    def __init__(
        self, path: Path, make: Callable[[], Handler], tls: ssl.SSLContext | None = None
    ) -> None:
        """With ``tls`` it listens on TCP, at ``port``."""
        self.path = str(path)
        self.port = 0
        self._tls = tls
        self._make = make
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._server: HttpServer | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        sock = self._bound()
        handler = self._make()
        self._server = HttpServer(handler)
        await self._server.listen(sock, tls=self._tls)
        self._ready.set()
        await self._stop.wait()
        await self._server.close(grace=1.0)
        close = getattr(handler, "close", None)
        if close is not None:
            close()

    def _bound(self) -> socket.socket:
        if self._tls is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(self.path)
            return sock
        sock = socket.socket(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        return sock

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(_PATIENCE)

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive()

    def halt(self) -> None:
        """On the loop: begin to stop."""
        assert self._stop is not None
        self._stop.set()

    def on_loop(self, question: Callable[[], Any]) -> Any:
        """Ask something in the server's own thread."""

        async def ask() -> Any:
            return question()

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_PATIENCE)

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the loop turn until ``condition`` holds there."""

        async def wait() -> None:
            async with asyncio.timeout(_PATIENCE):
                while not condition():
                    await asyncio.sleep(0)

        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(wait(), self._loop).result(_PATIENCE)

    @property
    def connections(self) -> int:
        assert self._server is not None
        return self._server.connections

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_PATIENCE)
        sock.connect(self.path)
        return sock

    def client(self) -> http.client.HTTPConnection:
        return _UnixConnection(self.path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("wherry", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """``serve(make)`` runs what ``make()`` returns, which is called in the server's loop."""
    with ExitStack() as stack:

        def start(make: Callable[[], Handler], tls: ssl.SSLContext | None = None) -> Running:
            running = Running(tmp_path / "api.sock", make, tls)
            running.start()
            stack.callback(running.stop)
            return running

        yield start


def read_all(sock: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    parts = []
    while data := sock.recv(65536):
        parts.append(data)
    return b"".join(parts)


def read_head(sock: socket.socket) -> bytes:
    """One byte at a time up to the empty line, so that nothing of the stream is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, head
        head += byte
    return head


def send_until_full(sock: socket.socket) -> int:
    """Send until nothing more is taken for a while; returns how many bytes were."""
    sent = 0
    patience = sock.gettimeout()
    sock.settimeout(0.3)
    try:
        while True:
            sent += sock.send(b"x" * 65536)
    except TimeoutError:
        return sent
    finally:
        sock.settimeout(patience)


@pytest.fixture
def wire() -> Any:
    """The helpers above, since test files cannot import each other."""

    class Helpers:
        read_all = staticmethod(read_all)
        read_head = staticmethod(read_head)
        send_until_full = staticmethod(send_until_full)

    return Helpers


def _load(name: str) -> Any:
    """A file beside this one; the tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def engine() -> Any:
    return _load("fake_engine").FakeEngine()


@dataclass
class Api:
    """The API over the fake engine, and a client with one kept connection."""

    running: Running
    client: http.client.HTTPConnection

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Status, decoded JSON (or bytes), headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        self.client.request(method, path, body=body, headers=named)
        answer = self.client.getresponse()
        data = answer.read()
        kind = answer.headers.get("Content-Type", "")
        decoded = (
            json.loads(data) if kind == "application/json" and data.count(b"\n") == 1 else data
        )
        return answer.status, decoded, answer.headers


@pytest.fixture
def api(serve: Any, engine: Any) -> Iterator[Api]:
    running = serve(lambda: create_app(engine, ApiSettings(version="9.9")))
    client = running.client()
    yield Api(running, client)
    client.close()
