"""HTTP/1.1 (RFC 9112) over one socket, as the Engine API uses it.

Chunked bodies both ways, keep-alive, answers that come before the request's body is sent, and
connections that are taken over ("hijacked") as a raw stream with half-close. Synchronous, and
small on purpose: ``http.client`` costs every command more to import than a container's start
(docs/decisions/command-line.md has the numbers).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from wherry.errors import InternalError, Unavailable

CHUNK = 65536
_LINE_LIMIT = 65536
_HEADER_COUNT_LIMIT = 256
_NO_SIGNAL = socket.MSG_NOSIGNAL

Body = bytes | Iterable[bytes] | None
"""Bytes are sent with a length, an iterable as chunks, as it yields them."""


class Disconnected(Unavailable):
    """The engine closed the connection in the middle of a conversation."""


class _Reader:
    """Buffered reading of lines and bytes from a socket."""

    __slots__ = ("_buffer", "_socket")

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._buffer = bytearray()

    def _fill(self) -> bool:
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            raise Unavailable("the engine did not answer within the time given") from None
        except ConnectionError as error:
            raise Disconnected(f"the engine closed the connection: {error.strerror}") from error
        self._buffer += data
        return bool(data)

    def line(self) -> bytes:
        """The next line without its end; Disconnected if the stream ends before."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if start > _LINE_LIMIT:
                raise InternalError("the engine answered with a line that is too long")
            if not self._fill():
                raise Disconnected("the engine closed the connection without an answer")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def some(self, limit: int) -> bytes:
        """Between 1 and ``limit`` bytes; empty at the end of the stream."""
        if not self._buffer and not self._fill():
            return b""
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    def buffered(self) -> bytes:
        """Take what was read ahead."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data


class Response:
    """An answer whose body is still on the wire. Read it to its end, or close it."""

    def __init__(self, connection: Connection, method: str, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._method = method
        self._done = False

    def header(self, name: str) -> str:
        """A header's value, empty if it is absent. ``name`` is lower-case."""
        return self.headers.get(name, "")

    def fileno(self) -> int:
        """The descriptor to poll for more of the body."""
        return self._connection.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """How long each wait for more of the body may take; Unavailable after that."""
        self._connection.settimeout(seconds)

    def chunks(self) -> Iterator[bytes]:
        """The body, in pieces as they arrive."""
        if not self._done:
            yield from self._framed()
            self._finish()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def lines(self) -> Iterator[bytes]:
        """The body's lines that are not empty, each as soon as it is complete."""
        rest = b""
        for chunk in self.chunks():
            *complete, rest = (rest + chunk).split(b"\n")
            yield from (line for line in complete if line.strip())
        if rest.strip():
            yield rest

    def close(self) -> None:
        """Give up the rest of the body, and with it the connection."""
        if not self._done:
            self._done = True
            self._connection.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _framed(self) -> Iterator[bytes]:
        if self._method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return iter(())
        if self.header("transfer-encoding").lower() == "chunked":
            return self._chunked()
        if length := self.header("content-length"):
            return self._exactly(_length(length, 10))
        return self._until_closed()

    def _exactly(self, count: int) -> Iterator[bytes]:
        while count:
            data = self._connection.reader.some(min(count, CHUNK))
            if not data:
                raise Disconnected("the engine closed the connection in the middle of an answer")
            count -= len(data)
            yield data

    def _chunked(self) -> Iterator[bytes]:
        reader = self._connection.reader
        while size := _length(reader.line().partition(b";")[0].decode("latin-1"), 16):
            yield from self._exactly(size)
            reader.line()
        while reader.line():
            pass  # trailers

    def _until_closed(self) -> Iterator[bytes]:
        while data := self._connection.reader.some(CHUNK):
            yield data
        self.headers["connection"] = "close"

    def _finish(self) -> None:
        self._done = True
        if self.header("connection").lower() == "close" or self._connection.spoilt:
            self._connection.close()
        else:
            self._connection.release()


def _length(text: str, base: int) -> int:
    try:
        value = int(text.strip(), base)
    except ValueError:
        value = -1
    if value < 0:
        raise InternalError(f"the engine answered with an invalid length {text!r}")
    return value


class Stream:
    """A connection that carries raw bytes both ways. Either side may end its half alone."""

    def __init__(self, connection: socket.socket, ahead: bytes, content_type: str) -> None:
        self.content_type = content_type
        self._socket = connection
        self._ahead = ahead

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def buffered(self) -> bool:
        """Whether ``recv`` has bytes that ``poll`` does not see."""
        return bool(self._ahead)

    def recv(self, limit: int = CHUNK) -> bytes:
        """Some bytes; empty when the other side has ended."""
        if self._ahead:
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return data
        try:
            return self._socket.recv(limit)
        except ConnectionResetError:
            return b""

    def send(self, data: bytes) -> None:
        """Send all of ``data``; OSError once the other side is gone."""
        self._socket.sendall(data, _NO_SIGNAL)

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what fits without waiting and return its length, 0 if nothing does."""
        try:
            return self._socket.send(data, _NO_SIGNAL | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def communicate(self, data: bytes = b"") -> Iterator[bytes]:
        """Send ``data`` and end our half, while giving what comes, to its end.

        Neither side waits for the other: a program that answers before it has read everything
        blocks nobody.
        """
        waiting = memoryview(data)
        if not waiting:
            self.close_write()
        while True:
            ready = 0
            if not self._ahead:
                wanted = select.POLLIN | (select.POLLOUT if waiting else 0)
                ready = _poll(self._socket, wanted, None)
            if waiting and ready & (select.POLLOUT | select.POLLERR):
                waiting = waiting[self._offer(waiting) :]
                if not waiting:
                    self.close_write()
            if self._ahead or ready & ~select.POLLOUT:
                piece = self.recv()
                if not piece:
                    return
                yield piece

    def _offer(self, data: memoryview) -> int:
        """Send some; a reader that is gone takes everything."""
        try:
            return self.send_some(data)
        except OSError:
            return len(data)

    def close_write(self) -> None:
        """End this side's half: the container reads end-of-file."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side was faster

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Connection:
    """One socket to an engine, carrying one request at a time."""

    def __init__(
        self, link: socket.socket, host: str, on_idle: Callable[[Connection], None]
    ) -> None:
        self.reader = _Reader(link)
        self.spoilt = False  # the request was not sent to its end
        self._socket = link
        self._host = host
        self._on_idle = on_idle

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def release(self) -> None:
        """Offer the connection for the next request."""
        self._on_idle(self)

    def settimeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    @property
    def stale(self) -> bool:
        """Whether the engine has closed the idle connection (or said what nobody asked for)."""
        return bool(_poll(self._socket, select.POLLIN, 0))

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: Body
    ) -> Response:
        """Send a request and read the head of its answer."""
        try:
            self._send_head(method, target, headers, body)
            if body is not None and not isinstance(body, bytes):
                self._send_chunks(body)
        except TimeoutError:
            raise Unavailable("the engine took no data within the time given") from None
        except ConnectionError:
            self.spoilt = True  # an answer may lie there nevertheless
        return self._read_head(method)

    def into_stream(self, response: Response) -> Stream:
        """Take the socket over after an answer 101 (or 200, of old engines)."""
        self._socket.settimeout(None)
        return Stream(self._socket, self.reader.buffered(), response.header("content-type"))

    def _send_head(self, method: str, target: str, headers: Mapping[str, str], body: Body) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", "User-Agent: wherry"]
        lines += [f"{name}: {_checked(value)}" for name, value in headers.items()]
        if isinstance(body, bytes):
            lines.append(f"Content-Length: {len(body)}")
        elif body is not None:
            lines.append("Transfer-Encoding: chunked")
        elif method != "GET":
            lines.append("Content-Length: 0")
        head = "\r\n".join((*lines, "", "")).encode()
        self._socket.sendall(head + body if isinstance(body, bytes) else head, _NO_SIGNAL)

    def _send_chunks(self, body: Iterable[bytes]) -> None:
        for piece in body:
            if not piece:
                continue
            if self._refused():
                self.spoilt = True
                return
            self._socket.sendall(b"%x\r\n%b\r\n" % (len(piece), piece), _NO_SIGNAL)
        self._socket.sendall(b"0\r\n\r\n", _NO_SIGNAL)

    def _refused(self) -> bool:
        """Whether an error has arrived already, so that the rest need not be sent."""
        events = _poll(self._socket, select.POLLIN | select.POLLOUT, None)
        if not events & select.POLLIN:
            return False
        status = self._socket.recv(12, socket.MSG_PEEK)[9:10]
        if status in (b"4", b"5", b""):
            return True
        # An answer that has begun refuses nothing: a load tells of its progress while it reads.
        # Only a server that hangs up wants no more.
        return not _poll(self._socket, select.POLLOUT, None) & select.POLLOUT

    def _read_head(self, method: str) -> Response:
        while True:
            version, _, rest = self.reader.line().decode("latin-1").partition(" ")
            status, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not status.isdigit():
                raise InternalError("what listens there does not speak HTTP: is it an engine?")
            response = Response(self, method, int(status), reason)
            response.headers = self._read_headers()
            if version == "HTTP/1.0":
                response.headers["connection"] = "close"
            if response.status not in (100, 102, 103):
                return response

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        while line := self.reader.line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > _HEADER_COUNT_LIMIT:
                raise InternalError("the engine answered with too many headers")
        return headers


def _poll(source: socket.socket, events: int, timeout: int | None) -> int:
    """Events that are ready; ``timeout`` in milliseconds, None for ever."""
    poller = select.poll()
    poller.register(source, events)
    ready = poller.poll(timeout)
    return ready[0][1] if ready else 0


def _checked(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise InternalError("a header's value holds a line end")
    return value
