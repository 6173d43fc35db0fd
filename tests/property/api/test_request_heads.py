"""Heads of requests: read as RFC 9112 has them, or refused; never two readings of one length."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.api.http.head import BadRequest, parse_head

NAMES = st.sampled_from(
    [b"Host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection", b"X",
     b"Content-Length ", b" X", b"X\0", b"", b"Expect"]
)  # fmt: skip
VALUES = st.sampled_from(
    [b"d", b"0", b"5", b"+5", b"5, 5", b"0x5", b"-1", b"9" * 30, b"chunked", b"chunked, chunked",
     b"identity", b"gzip, chunked", b"close", b"a\rb", b"a\nb", b"a\0b", b"\xe9", b" 5 ", b"5_0",
     "\u0665".encode()]
)  # fmt: skip
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /x?y HTTP/1.1", b"GET  / HTTP/1.1", b"GET /\0 HTTP/1.1",
     b"GET / HTTP/1.0", b"GET / HTTP/9.9", b"GET /", b"G\tT / HTTP/1.1", b"GET / x HTTP/1.1"]
)  # fmt: skip


@settings(max_examples=examples(500), deadline=None)
@given(LINES, FIELDS)
def test_one_length_or_none(line: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    data = b"\r\n".join([line, *(name + b":" + value for name, value in fields)])
    try:
        head = parse_head(data)
    except BadRequest:
        return
    lengths = [v.strip() for n, v in fields if n.lower() == b"content-length"]
    codings = [v.strip() for n, v in fields if n.lower() == b"transfer-encoding"]
    assert not (lengths and codings)
    assert len(set(lengths)) <= 1
    assert all(re.fullmatch(rb"[0-9]+", length) for length in lengths)
    assert all(coding.lower() == b"chunked" for coding in codings)
    assert head.length == (int(lengths[0]) if lengths else 0)
    assert head.chunked == bool(codings)
    assert not re.search(r"[\x00-\x08\x0a-\x1f]", head.target + "".join(head.headers.values()))
    assert all(name == name.strip().lower() for name in head.headers)


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_head_or_a_refusal(data: bytes) -> None:
    try:
        head = parse_head(data)
    except BadRequest:
        return
    assert head.length >= 0
    assert " " not in head.target
