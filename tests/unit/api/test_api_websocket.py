"""The WebSocket codec: RFC 6455's own example, every frame size, what must be refused."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.frames import Unframer, frame
from wherry.api.http.body import Body, LengthFraming
from wherry.api.http.head import BadRequest, Head
from wherry.api.http.message import Request
from wherry.api.http.relay import StreamClosed
from wherry.api.http.websocket import WebSocketCodec, accept


def _masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    mask = os.urandom(4)
    size = len(payload)
    head = bytes(((0x80 if final else 0) | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65536:
        head += bytes((0x80 | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((0x80 | 127,)) + size.to_bytes(8, "big")
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def _request(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = Body(LengthFraming(0), flow=lambda _: None)
    wire: Any = None
    return Request(Head("GET", "/", (1, 1), named), "/", {}, body, wire)


def test_the_handshake_of_the_standard() -> None:
    answer = accept(
        _request(sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==", sec_websocket_version="13")
    )
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==", "sec_websocket_version": "8"},
        {"sec_websocket_key": "short", "sec_websocket_version": "13"},
    ],
)
def test_a_bad_handshake_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="handshake"):
        accept(_request(**headers))


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_payloads_arrive_whole_however_they_are_cut(payloads: list[bytes], step: int) -> None:
    codec = WebSocketCodec()
    data = b"".join(_masked(0x2, payload) for payload in payloads)
    got = b"".join(codec.decode(data[at : at + step]) for at in range(0, len(data), step))
    assert got == b"".join(payloads)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_every_form_of_length(size: int) -> None:
    payload = os.urandom(size)
    assert WebSocketCodec().decode(_masked(0x1, payload)) == payload
    sent = WebSocketCodec().encode(payload)
    assert sent[len(sent) - size :] == payload
    assert len(sent) - size == (0 if not size else 2 if size < 126 else 4 if size < 65536 else 10)


def test_a_message_in_fragments_with_a_ping_between() -> None:
    codec = WebSocketCodec()
    data = _masked(0x1, b"one", final=False) + _masked(0x9, b"hi") + _masked(0x0, b"two")
    assert codec.decode(data) == b"onetwo"
    assert codec.replies() == b"\x8a\x02hi"
    assert codec.replies() == b""


def test_a_close_is_answered() -> None:
    codec = WebSocketCodec()
    with pytest.raises(StreamClosed):
        codec.decode(_masked(0x8, (1000).to_bytes(2, "big")))
    assert codec.replies() == b"\x88\x02\x03\xe8"
    assert codec.farewell() == b""
    assert codec.encode(b"late") == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),  # not masked
        (b"\xc2\x81mask", 1002),  # an extension's bit
        (b"\x83\x81\0\0\0\0x", 1002),  # unknown opcode
        (b"\x09\x81\0\0\0\0x", 1002),  # a ping in fragments
        (b"\x82\xff" + (1 << 40).to_bytes(8, "big"), 1009),
    ],
)
def test_violations_end_the_stream_with_their_code(data: bytes, code: int) -> None:
    codec = WebSocketCodec()
    with pytest.raises(StreamClosed):
        codec.decode(data)
    assert codec.replies() == b"\x88\x02" + code.to_bytes(2, "big")


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=50)), max_size=6),
    st.integers(1, 30),
)
def test_dockers_frames_are_taken_off(pieces: list[tuple[str, bytes]], step: int) -> None:
    unframe = Unframer()
    data = b"".join(frame(stream, payload) for stream, payload in pieces)
    got = b"".join(unframe(data[at : at + step]) for at in range(0, len(data), step))
    assert got == b"".join(payload for _, payload in pieces)
