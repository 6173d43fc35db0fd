"""TLS between a TCP connection and the protocol above it, with both halves closed apart.

asyncio's own TLS transport closes the connection when either side ends its half. A stream that was
taken over lives on there: the client ends its input with the alert ``close_notify`` (RFC 8446,
section 6.1) and goes on reading, as Go's ``tls.Conn.CloseWrite`` does.

The end of the TCP connection is the end of the client: an input that ends without the alert was
cut off, and after the alert nobody is there to read an answer.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

_HANDSHAKE = 10.0  # seconds
_PIECE = 64 * 1024  # bytes decrypted at once

log = logging.getLogger("wherry.http")


class TlsLink(asyncio.Protocol):
    """The protocol of the TCP connection. ``factory`` makes the one above once the peer has proved
    who it is; until then nothing of it exists."""

    def __init__(self, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        self._factory = factory
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.raw: asyncio.Transport
        self.upper: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._plain: deque[bytes] = deque()
        self._paused = False
        self._ended = False  # the peer's input, by its alert
        self._told_end = False
        self.closing = False
        self.output_ended = False

    # --- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(_HANDSHAKE, self.raw.abort)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self.upper is None and not self._shake_hands():
            return
        self._decrypt()
        self._deliver()

    def eof_received(self) -> bool:
        self.raw.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._stop_timer()
        if self.upper is not None:
            self.upper.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.upper is not None:
            self.upper.pause_writing()

    def resume_writing(self) -> None:
        if self.upper is not None:
            self.upper.resume_writing()

    # --- the handshake -------------------------------------------------------------------------

    def _shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        except ssl.SSLError as error:
            log.info("a client was refused in the TLS handshake: %s", _reason(error))
            self.flush()  # the alert tells the client why
            self.raw.close()
            return False
        self.flush()
        self._stop_timer()
        self.upper = self._factory()
        self.upper.connection_made(TlsTransport(self))
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- from the peer -------------------------------------------------------------------------

    def _decrypt(self) -> None:
        """Take all that has come out of the records, so that none is in the way of an alert."""
        while not self._ended:
            try:
                data = self.tls.read(_PIECE)
            except ssl.SSLWantReadError:
                return
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if not self.output_ended:
                    log.info("a TLS connection broke off: %s", _reason(error))
                self.flush()
                self.raw.abort()
                return
            if data:
                self._plain.append(data)
            else:
                self._ended = True
            self.flush()  # answers to changes of keys

    def _deliver(self) -> None:
        while self._plain and not self._paused and not self.closing and self.upper is not None:
            self.upper.data_received(self._plain.popleft())
        done = self._ended and not self._plain and not self._paused and not self._told_end
        if not done or self.closing or self.upper is None:
            return
        self._told_end = True
        if not self.upper.eof_received():
            self.close()

    def hold(self) -> None:
        self._paused = True
        self.raw.pause_reading()

    def go_on(self) -> None:
        self._paused = False
        self.raw.resume_reading()
        if self._plain or self._ended:
            asyncio.get_running_loop().call_soon(self._deliver)

    # --- to the peer ---------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data or self.output_ended or self.raw.is_closing():
            return
        try:
            self.tls.write(data)
        except ssl.SSLError as error:
            log.info("a TLS connection broke off: %s", _reason(error))
            self.raw.abort()
            return
        self.flush()

    def flush(self) -> None:
        if self._outgoing.pending:
            self.raw.write(self._outgoing.read())

    def end_output(self) -> None:
        """Send the alert; what the peer sends is still read."""
        if self.output_ended:
            return
        self.output_ended = True
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own alert is not there yet, or is not wanted any more
        self.flush()

    def close(self) -> None:
        self.closing = True
        self.end_output()
        self.raw.close()


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


class TlsTransport(asyncio.Transport):
    """What the protocol above sees."""

    def __init__(self, link: TlsLink) -> None:
        super().__init__()
        self._link = link

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._link.tls
        return self._link.raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._link.upper = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._link.upper is not None
        return self._link.upper

    def is_closing(self) -> bool:
        return self._link.closing or self._link.raw.is_closing()

    def close(self) -> None:
        if not self.is_closing():
            self._link.close()

    def abort(self) -> None:
        self._link.closing = True
        self._link.raw.abort()

    def is_reading(self) -> bool:
        return self._link.raw.is_reading()

    def pause_reading(self) -> None:
        self._link.hold()

    def resume_reading(self) -> None:
        self._link.go_on()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._link.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._link.raw.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._link.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._link.end_output()
