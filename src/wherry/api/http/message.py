"""What handlers get and give: requests, replies, and replies that are written bit by bit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from wherry.api.http.body import Body
from wherry.api.http.head import HTTP_11, BadRequest, Head
from wherry.api.http.outlet import Outlet

_REASONS = {status.value: status.phrase for status in HTTPStatus}
_PARAMETERS_LIMIT = 1000

Headers = Mapping[str, str]


class Wire(Protocol):
    """The connection below a request."""

    @property
    def transport(self) -> asyncio.Transport: ...

    @property
    def remote(self) -> bool:
        """The client came over TCP."""
        ...

    @property
    def realm(self) -> str:
        """What its listening socket may do, by name; empty for everything."""
        ...

    @property
    def streaming(self) -> bool:
        """The head of an answer is out, or HTTP has ended."""
        ...

    @property
    def plain(self) -> bool:
        """Bytes go through the client's socket as they are."""
        ...

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written."""
        ...

    async def flush(self) -> None:
        """Wait until the client's socket has taken all that was written."""
        ...

    def start_stream(self) -> None:
        """From here on the end of the client's input ends the handler."""
        ...

    def take_over(self, protocol: asyncio.BaseProtocol) -> bytes:
        """Give the transport to ``protocol``; returns what the client sent after the request.

        HTTP ends here. If the client has closed its writing side already, ``eof_received`` of
        the new protocol is called soon.
        """
        ...


@dataclass(slots=True)
class Request:
    head: Head
    path: str  # percent-decoded
    query: dict[str, list[str]]
    body: Body
    wire: Wire
    # set by the application
    version: tuple[int, int] = (0, 0)  # of the API
    id: str = ""
    operation: str = ""

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def headers(self) -> dict[str, str]:
        return self.head.headers

    def value(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else default


class Reply(msgspec.Struct, frozen=True):
    """A whole answer. Statuses 1xx, 204 and 304 have no body."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: Headers = {}


def make_request(head: Head, body: Body, wire: Wire) -> Request:
    """Split the target; BadRequest if it cannot be decoded."""
    path, _, query = head.target.partition("?")
    try:
        values: dict[str, list[str]] = {}
        if query:
            for name, value in parse_qsl(
                query.partition("#")[0],
                keep_blank_values=True,
                max_num_fields=_PARAMETERS_LIMIT,
                errors="strict",
            ):
                values.setdefault(name, []).append(value)
        decoded = unquote(path, errors="strict") if "%" in path else path
    except (ValueError, UnicodeDecodeError):
        raise BadRequest(f"the request target {head.target[:80]!r} cannot be decoded") from None
    return Request(head, decoded, values, body, wire)


def render_head(status: int, headers: Headers, version: tuple[int, int] = HTTP_11) -> bytes:
    """Status line, fields and empty line. Values come from the engine: a line break is an error."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines.extend(f"{name}: {value}" for name, value in headers.items())
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1:
        raise ValueError("a header value has a line break")
    return (text + "\r\n\r\n").encode("utf-8")


class Stream:
    """An answer that is written bit by bit, chunked, each bit sent at once.

    The head goes out with the constructor, so that a client that waits for it goes on.
    """

    def __init__(
        self, request: Request, *, status: int = 200, content_type: str, headers: Headers
    ) -> None:
        self._wire = request.wire
        self._chunked = request.head.version == HTTP_11
        self._silent = request.method == "HEAD"
        fields = dict(headers)
        fields["Content-Type"] = content_type
        if self._chunked:
            fields["Transfer-Encoding"] = "chunked"
        else:
            fields["Connection"] = "close"
        self._wire.start_stream()
        self._wire.transport.write(render_head(status, fields))

    async def write(self, data: bytes) -> None:
        """Send; waits while the client is slow."""
        if not data or self._silent:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._wire.transport.write(data)
        await self._wire.drain()

    async def outlet(self) -> Outlet:
        """The rest of the body's way for a thread, which ends before anything else is written."""
        await self._wire.flush()
        sock = self._wire.transport.get_extra_info("socket").dup()
        return Outlet(sock, chunked=self._chunked)

    async def finish(self) -> None:
        if self._chunked and not self._silent:
            self._wire.transport.write(b"0\r\n\r\n")
        await self._wire.drain()


Answer = Reply | Stream | None
"""What a handler returns: None if it took the connection over."""
