"""Request heads: what is taken and what is refused."""

from __future__ import annotations

import pytest

from wherry.api.http.head import BadRequest, parse_head


def test_reads_method_target_version_and_fields() -> None:
    head = parse_head(b"GET /v1.41/info?x=1 HTTP/1.1\r\nHost: a\r\nX-One:  two \r\nx-one: three")
    assert (head.method, head.target, head.version) == ("GET", "/v1.41/info?x=1", (1, 1))
    assert head.headers == {"host": "a", "x-one": "two, three"}


def test_an_absolute_target_is_its_path() -> None:
    assert parse_head(b"GET http://docker/v1.24/_ping HTTP/1.1").target == "/v1.24/_ping"
    assert parse_head(b"GET http://docker HTTP/1.1").target == "/"


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1", True),
        (b"GET / HTTP/1.1\r\nConnection: close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, keep: bool) -> None:
    assert parse_head(head).keep_alive is keep


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"GET /", "request line"),
        (b"GET  / HTTP/1.1", "request line"),
        (b"G(T / HTTP/1.1", "request line"),
        (b"GET / HTTP/2.0", "HTTP/1.0 nor HTTP/1.1"),
        (b"GET info HTTP/1.1", "not a path"),
        (b"GET / HTTP/1.1\r\nbroken", "header line"),
        (b"GET / HTTP/1.1\r\nName : value", "header line"),
        (b"GET / HTTP/1.1\r\nA: b\r\n folded", "header line"),
        (b"GET / HTTP/1.1\r\nA: b\x00c", "header line"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1", "Content-Length"),
        (b"GET / HTTP/1.1\r\nContent-Length: +1", "Content-Length"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", "two different"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", "both"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked", "not supported"),
        (b"GET / HTTP/1.1" + b"\r\nA: b" * 201, "more than 200"),
    ],
)
def test_refuses_what_is_not_http(head: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_head(head)
