"""Archives on their way to clients: sent by the thread that makes them."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.patience import patience

from wherry.api.http.body import ClientGone
from wherry.errors import Conflict, NotFound

_PATIENCE = patience(10.0)
_PIECE = os.urandom(700_000)
_SAVE = b"GET /images/get?names=a HTTP/1.1\r\nHost: x\r\n\r\n"

Output = Callable[[bytes], None]


class Making:
    """A job that puts pieces until nobody wants more, and tells how it ended."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.ended = threading.Event()

    def __call__(self, names: object, output: Output) -> None:
        try:
            while True:
                output(_PIECE)
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()


def test_all_of_it_arrives_and_the_connection_is_kept(api: Any, engine: Any) -> None:
    def save(names: object, output: Output) -> None:
        for piece in (b"small", b"", _PIECE, _PIECE, b"end"):
            output(piece)

    engine.images.save = save
    client = api.running.client()
    for _ in range(2):
        client.request("GET", "/images/get?names=a")
        answer = client.getresponse()
        assert answer.getheader("Content-Type") == "application/x-tar"
        assert answer.read() == b"small" + _PIECE + _PIECE + b"end"
    client.close()


def test_a_body_of_old_http_has_no_chunks(api: Any, engine: Any, wire: Any) -> None:
    engine.images.save = lambda names, output: output(_PIECE)
    with api.running.connect() as sock:
        sock.sendall(b"GET /images/get?names=a HTTP/1.0\r\n\r\n")
        head, _, body = wire.read_all(sock).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert body == _PIECE


def test_nothing_at_all_is_an_empty_body(api: Any, engine: Any) -> None:
    engine.images.save = lambda names, output: None
    client = api.running.client()
    client.request("GET", "/images/get?names=a")
    assert client.getresponse().read() == b""
    client.close()


def test_an_error_before_the_first_piece_has_its_status(api: Any, engine: Any) -> None:
    def save(names: object, output: Output) -> None:
        raise NotFound("no such image")

    engine.images.save = save
    client = api.running.client()
    client.request("GET", "/images/get?names=a")
    assert client.getresponse().status == 404
    client.close()


def test_an_error_after_it_breaks_the_answer_off(api: Any, engine: Any) -> None:
    def save(names: object, output: Output) -> None:
        output(b"begun")
        raise Conflict("changed meanwhile")

    engine.images.save = save
    client = api.running.client()
    client.request("GET", "/images/get?names=a")
    answer = client.getresponse()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    client.close()


def test_a_client_that_leaves_ends_the_work(api: Any, engine: Any, wire: Any) -> None:
    engine.images.save = making = Making()
    with api.running.connect() as sock:
        sock.sendall(_SAVE)
        wire.read_head(sock)
    assert making.ended.wait(_PATIENCE)
    assert isinstance(making.error, ClientGone)
    api.running.until(lambda: not api.running.connections)


def test_a_server_that_stops_waits_for_no_slow_client(api: Any, engine: Any, wire: Any) -> None:
    engine.images.save = making = Making()
    with api.running.connect() as sock:
        sock.sendall(_SAVE)
        wire.read_head(sock)
        api.running.stop()
        assert making.ended.wait(_PATIENCE)
    assert isinstance(making.error, ClientGone)
