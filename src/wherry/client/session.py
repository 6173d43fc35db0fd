"""Requests to an engine: queries, JSON, errors, kept connections. No knowledge of endpoints.

The command line speaks through this directly and keeps answers as the JSON they are (it prints
fields that this version may not know, and types would cost every command a tenth of a second to
import twice over); :class:`wherry.client.Client` puts types on top.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from wherry.client.address import DEFAULT_HOST, parse_address
from wherry.client.transport import Body, Connection, Disconnected, Response, Stream
from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    WherryError,
)

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    from wherry.client.tls import TlsFiles

    Query = Mapping[str, Any]

_ERRORS: dict[int, type[WherryError]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    406: InvalidArgument,
    409: Conflict,
    413: InvalidArgument,
    501: NotSupported,
    503: Unavailable,
}
_EMPTY: Mapping[str, str] = {}
_IDLE_LIMIT = 4
_UNRESERVED = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:@")


class Session:
    """Speaks to one engine. Threads may share it: each request has a connection of its own.

    ``timeout`` is in seconds, for each wait on the socket; None waits for ever, as some answers
    (``wait``, ``events``) take as long as they take. ``tls``: speak it, on TCP.
    """

    def __init__(
        self,
        host: str = DEFAULT_HOST,
        *,
        timeout: float | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.address = parse_address(host, secure=tls is not None)
        self._tls = None if tls is None or self.address.path else tls.context()
        self.timeout = timeout
        self._idle: list[Connection] = []

    def open(self) -> None:
        """Make sure that something listens: Unavailable or PermissionDenied if not."""
        self._keep(self._connect())

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- requests

    def request(
        self,
        method: str,
        path: str,
        query: Query = _EMPTY,
        *,
        body: Body = None,
        headers: Mapping[str, str] = _EMPTY,
    ) -> Response:
        """The answer, with its body unread. An answer of 400 and above raises its error."""
        response = self._exchange(method, path + encode_query(query), headers, body)
        if response.status >= 400:
            raise _error(response)
        return response

    def json(
        self,
        method: str,
        path: str,
        query: Query = _EMPTY,
        *,
        json: object = None,
        headers: Mapping[str, str] = _EMPTY,
    ) -> Any:
        """Send JSON (if any) and decode the answer's; None for an empty one."""
        body = encode_json(json) if json is not None else None
        if body is not None:
            headers = {"Content-Type": "application/json", **headers}
        data = self.request(method, path, query, body=body, headers=headers).read()
        return decode_json(data) if data.strip() else None

    def get(self, path: str, query: Query = _EMPTY) -> Any:
        return self.json("GET", path, query)

    def post(self, path: str, query: Query = _EMPTY, *, json: object = None) -> Any:
        return self.json("POST", path, query, json=json)

    def delete(self, path: str, query: Query = _EMPTY) -> Any:
        return self.json("DELETE", path, query)

    def hijack(self, path: str, query: Query = _EMPTY, *, json: object = None) -> Stream:
        """POST and take the connection over as a stream, as attach and exec do."""
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        if json is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        body = encode_json(json) if json is not None else None
        response = connection.exchange("POST", path + encode_query(query), headers, body)
        if response.status in (101, 200):
            return connection.into_stream(response)
        raise _error(response)

    def progress(
        self,
        method: str,
        path: str,
        query: Query = _EMPTY,
        *,
        body: Body = None,
        headers: Mapping[str, str] = _EMPTY,
    ) -> Iterator[dict[str, Any]]:
        """The JSON objects of a stream, as they arrive (events, and progress of long requests).

        An object that holds an error is given, too: who reads it decides.
        """
        with self.request(method, path, query, body=body, headers=headers) as response:
            for line in response.lines():
                yield decode_json(line)

    # --- connections

    def _connect(self) -> Connection:
        link = self.address.connect()
        if self._tls is not None:
            from wherry.client.tls import secured

            link = secured(link, self._tls, self.address.name)
        made = Connection(link, self.address.header, self._keep)
        made.settimeout(self.timeout)
        return made

    def _keep(self, connection: Connection) -> None:
        if len(self._idle) < _IDLE_LIMIT:
            self._idle.append(connection)
        else:
            connection.close()

    def _reuse(self) -> Connection | None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break  # another thread took it
            if not connection.stale:
                return connection
            connection.close()
        return None

    def _exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> Response:
        if kept := self._reuse():
            try:
                return kept.exchange(method, target, headers, body)
            except Disconnected:
                kept.close()
                if method not in ("GET", "HEAD"):
                    raise  # it may have been carried out
        return self._connect().exchange(method, target, headers, body)


def encode_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def decode_json(data: bytes) -> Any:
    """Decode an answer; InternalError if it is not JSON."""
    try:
        return json.loads(data)
    except ValueError:
        raise InternalError(f"the engine answered with invalid JSON: {data[:80]!r}") from None


def quote(text: str) -> str:
    """Percent-encode a segment of a path; slashes and colons of image names stay."""
    data = text.encode()
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)


def encode_query(query: Query) -> str:
    """``?a=1&b=2``: None is left out, true is 1, a mapping is JSON, a sequence is repeated."""
    pairs = [pair for name, value in query.items() for pair in _pairs(name, value)]
    return "?" + "&".join(pairs) if pairs else ""


def _pairs(name: str, value: object) -> Iterator[str]:
    if value is None:
        return
    if isinstance(value, list | tuple):
        for item in value:
            yield from _pairs(name, item)
        return
    if isinstance(value, bool):
        value = int(value)
    elif isinstance(value, dict):
        value = json.dumps(value, separators=(",", ":"))
    yield f"{name}={quote(str(value)).replace('/', '%2F')}"


def _error(response: Response) -> WherryError:
    """The error for an answer's status, with the engine's own sentence."""
    data = response.read()
    try:
        decoded = json.loads(data)
        message = decoded["message"] if isinstance(decoded, dict) else str(decoded)
    except (ValueError, KeyError):
        message = data.decode(errors="replace").strip()
    base = _ERRORS.get(response.status, InternalError)
    return base(message or f"the engine answered with status {response.status} and no reason")
