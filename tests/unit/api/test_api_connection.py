"""Connections over a real socket: order, limits, half-closes, vanishing clients."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from wherry.api.http.message import Answer, Reply, Request, Stream
from wherry.errors import WherryError

_TEXT = "text/plain"


async def _echo(request: Request) -> Answer:
    body = await request.body.read_all(1 << 20)
    return Reply(200, request.path.encode() + b" " + body, _TEXT)


def test_one_connection_serves_many_requests(serve: Any) -> None:
    client = serve(lambda: _echo).client()
    for number in range(3):
        client.request("POST", f"/{number}", body=b"x" * number)
        answer = client.getresponse()
        assert answer.read() == f"/{number} ".encode() + b"x" * number


def test_pipelined_requests_are_answered_in_order(serve: Any, wire: Any) -> None:
    sock = serve(lambda: _echo).connect()
    sock.sendall(
        b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
        b"GET /c HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    text = wire.read_all(sock)
    assert [text.find(b"/a "), text.find(b"/b hi"), text.find(b"/c ")] == sorted(
        [text.find(b"/a "), text.find(b"/b hi"), text.find(b"/c ")]
    )
    assert text.count(b"HTTP/1.1 200 OK") == 3


def test_a_chunked_body_in_small_pieces(serve: Any) -> None:
    client = serve(lambda: _echo).client()
    client.request("POST", "/x", body=iter([b"ab", b"c" * 100_000]), encode_chunked=True)
    assert client.getresponse().read() == b"/x ab" + b"c" * 100_000


def test_expect_continue_is_answered_when_the_body_is_wanted(serve: Any, wire: Any) -> None:
    sock = serve(lambda: _echo).connect()
    sock.sendall(b"POST /x HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert wire.read_head(sock) == b"HTTP/1.1 100 Continue\r\n\r\n"
    sock.sendall(b"ok")
    assert wire.read_head(sock).startswith(b"HTTP/1.1 200")


def test_head_has_the_length_and_no_body(serve: Any) -> None:
    client = serve(lambda: _echo).client()
    client.request("HEAD", "/x")
    answer = client.getresponse()
    assert answer.read() == b""
    assert answer.headers["Content-Length"] == "3"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"A" * (513 * 1024),
        b"GET /%ff HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_400_and_the_end(serve: Any, wire: Any, request_bytes: bytes) -> None:
    async def handler(request: Request) -> Answer:
        try:
            return await _echo(request)
        except WherryError as error:
            return Reply(400, str(error).encode(), _TEXT)

    sock = serve(lambda: handler).connect()
    sock.sendall(request_bytes)
    sock.shutdown(socket.SHUT_WR)
    assert wire.read_all(sock).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_an_early_answer_reaches_a_client_that_still_sends(serve: Any, wire: Any) -> None:
    async def refuse(request: Request) -> Answer:
        return Reply(413, b"no", _TEXT)

    sock = serve(lambda: refuse).connect()
    sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
    assert wire.read_head(sock).startswith(b"HTTP/1.1 413")
    for _ in range(64):
        sock.sendall(b"x" * 65536)  # is taken and dropped
    sock.shutdown(socket.SHUT_WR)
    assert wire.read_all(sock) == b"no"


def test_a_half_close_does_not_lose_the_answer(serve: Any, wire: Any) -> None:
    go = threading.Event()

    async def slow(request: Request) -> Answer:
        await asyncio.get_running_loop().run_in_executor(None, go.wait, 10)
        return Reply(200, b"done", _TEXT)

    sock = serve(lambda: slow).connect()
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    sock.shutdown(socket.SHUT_WR)
    go.set()
    assert wire.read_all(sock).endswith(b"done")


def _streaming(ended: threading.Event) -> Callable[[Request], Any]:
    async def stream(request: Request) -> Answer:
        out = Stream(request, content_type=_TEXT, headers={})
        try:
            await out.write(b"first")
            await asyncio.Event().wait()
        finally:
            ended.set()
        return out

    return stream


@pytest.mark.parametrize("how", ["close", "half-close"])
def test_a_stream_ends_with_its_client(serve: Any, wire: Any, how: str) -> None:
    ended = threading.Event()
    running = serve(lambda: _streaming(ended))
    sock = running.connect()
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert b"chunked" in wire.read_head(sock)
    assert sock.recv(100) == b"5\r\nfirst\r\n"
    if how == "close":
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
    assert ended.wait(10)
    running.until(lambda: running.connections == 0)


def test_a_short_handler_is_cancelled_when_the_client_is_gone(serve: Any) -> None:
    began, ended = threading.Event(), threading.Event()

    async def handler(request: Request) -> Answer:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return Reply()

    sock = serve(lambda: handler).connect()
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert began.wait(10)
    sock.close()
    assert ended.wait(10)


def test_a_slow_client_slows_the_writer_down(serve: Any, wire: Any) -> None:
    written = 0

    async def firehose(request: Request) -> Answer:
        nonlocal written
        out = Stream(request, content_type=_TEXT, headers={})
        for _ in range(1000):
            await out.write(b"x" * 65536)
            written += 1
        return out

    running = serve(lambda: firehose)
    sock = running.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
    wire.read_head(sock)
    running.until(lambda: written > 0)
    for _ in range(100):
        running.on_loop(lambda: None)
    assert written < 100
    assert wire.read_all(sock).endswith(b"0\r\n\r\n")
    assert written == 1000


def test_a_slow_reader_slows_the_client_down(serve: Any, wire: Any) -> None:
    go = threading.Event()

    async def lazy(request: Request) -> Answer:
        await asyncio.get_running_loop().run_in_executor(None, go.wait, 10)
        return Reply(200, str(len(await request.body.read_all(1 << 30))).encode(), _TEXT)

    sock = serve(lambda: lazy).connect()
    size = 64 * 1024 * 1024
    sock.sendall(f"POST / HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode())
    sent = wire.send_until_full(sock)
    assert sent < 8 * 1024 * 1024
    go.set()
    while sent < size:
        sent += sock.send(b"x" * min(65536, size - sent))
    assert sock.recv(65536).endswith(str(size).encode())
