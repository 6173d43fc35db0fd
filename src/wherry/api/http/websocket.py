"""The server's side of a WebSocket (RFC 6455) as a codec for a relay: binary messages out,
payload of any data message in. No extensions."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable

from wherry.api.http.head import BadRequest
from wherry.api.http.message import Request, render_head
from wherry.api.http.relay import StreamClosed

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_NORMAL, _PROTOCOL_ERROR, _TOO_BIG = 1000, 1002, 1009
_FRAME_LIMIT = 1024 * 1024  # bytes of one frame from a client


def wants_websocket(request: Request) -> bool:
    return request.headers.get("upgrade", "").lower() == "websocket"


def accept(request: Request) -> bytes:
    """The head that answers the handshake (section 4.2); BadRequest."""
    key = request.headers.get("sec-websocket-key", "")
    if request.headers.get("sec-websocket-version") != "13" or not _is_key(key):
        raise BadRequest("the WebSocket handshake needs version 13 and a key of 16 bytes")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
    }
    return render_head(101, headers)


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _frame(opcode: int, payload: bytes) -> bytes:
    """An unmasked final frame (section 5.2)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def _unmask(data: bytes, mask: bytes) -> bytes:
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    number = int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(data), "big")


class WebSocketCodec:
    """``unframe`` takes Docker's stream frames off the engine's bytes, if they have them."""

    def __init__(self, unframe: Callable[[bytes], bytes] | None = None) -> None:
        self._unframe = unframe
        self._held = b""
        self._out: list[bytes] = []
        self._closed = False

    def encode(self, data: bytes) -> bytes:
        if self._unframe is not None:
            data = self._unframe(data)
        return _frame(_BINARY, data) if data and not self._closed else b""

    def replies(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def farewell(self) -> bytes:
        return b"" if self._closed else self._close(_NORMAL)

    def _close(self, code: int) -> bytes:
        self._closed = True
        return _frame(_CLOSE, code.to_bytes(2, "big"))

    def decode(self, data: bytes) -> bytes:
        self._held += data
        payload: list[bytes] = []
        while (frame := self._next_frame()) is not None:
            self._handle(*frame, payload)
        return b"".join(payload)

    def _handle(self, opcode: int, data: bytes, payload: list[bytes]) -> None:
        if opcode in (_CONTINUATION, _TEXT, _BINARY):
            payload.append(data)
        elif opcode == _PING:
            self._out.append(_frame(_PONG, data))
        elif opcode == _CLOSE:
            if not self._closed:
                self._out.append(self._close(_NORMAL))
            raise StreamClosed
        elif opcode != _PONG:
            self._fail(_PROTOCOL_ERROR)

    def _fail(self, code: int) -> None:
        self._out.append(self._close(code))
        raise StreamClosed

    def _next_frame(self) -> tuple[int, bytes] | None:
        held = self._held
        if len(held) < 2:
            return None
        opcode, size, start = held[0] & 0x0F, held[1] & 0x7F, 2
        control_too_big = opcode >= _CLOSE and (size > 125 or not held[0] & 0x80)
        if held[0] & 0x70 or not held[1] & 0x80 or control_too_big:
            self._fail(_PROTOCOL_ERROR)  # an extension, no mask, a long or split control frame
        if size > 125:
            extra = 2 if size == 126 else 8
            size, start = int.from_bytes(held[2 : 2 + extra], "big"), 2 + extra
            if len(held) < start:
                return None
        if size > _FRAME_LIMIT:
            self._fail(_TOO_BIG)
        end = start + 4 + size
        if len(held) < end:
            return None
        self._held = held[end:]
        return opcode, _unmask(held[start + 4 : end], held[start : start + 4])
