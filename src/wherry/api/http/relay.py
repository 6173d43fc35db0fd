"""Two byte streams joined: a client's connection after HTTP, and a socket of the engine.

Each direction has one bounded buffer, that of the transport it is written to: when it is full,
the transport on the other side stops reading. There is no task and no thread for each stream.

    client ──data──► decode ──► detach keys ──► engine       half-close is passed on
    client ◄──data── encode ◄────────────────── engine       the engine's end ends the relay
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Protocol, cast

from wherry.api.http.hangup import HangupWatch, hung_up
from wherry.api.http.message import Wire

_BUFFER = 128 * 1024  # bytes in each direction
_SETTLE = 3.0  # seconds for ``settled``
_TAKEN_TRIES = 4000  # two seconds: a client that is slower delays nobody but itself
_TAKEN_PAUSE = 0.0005  # seconds
_LINGER = 10.0  # seconds for a client to close after the engine's end


class Codec(Protocol):
    """What stands between the client's bytes and the stream's; state of its own."""

    def decode(self, data: bytes) -> bytes:
        """From the client. May raise StreamClosed."""
        ...

    def encode(self, data: bytes) -> bytes:
        """To the client."""
        ...

    def replies(self) -> bytes:
        """What the protocol itself has to say to the client since the last call."""
        ...

    def farewell(self) -> bytes:
        """The last bytes to the client."""
        ...


class StreamClosed(Exception):
    """The client ended the stream by the codec's own means."""


class Plain:
    """No framing."""

    def decode(self, data: bytes) -> bytes:
        return data

    def encode(self, data: bytes) -> bytes:
        return data

    def replies(self) -> bytes:
        return b""

    def farewell(self) -> bytes:
        return b""


async def _until_taken(transport: asyncio.Transport) -> None:
    """Wait until a client on a Unix socket has read what was sent, for a moment at most.

    Some clients (those on Python's http.client) read the head of the answer through a buffer and
    lose what came together with it. unix(7): SIOCOUTQ counts what the peer has not read yet.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return
    for _ in range(_TAKEN_TRIES):
        if transport.is_closing() or not _unread(sock):
            return
        await asyncio.sleep(_TAKEN_PAUSE)


def _unread(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


Input = Callable[[bytes], tuple[bytes, bool]]
"""Looks at what goes to the engine: what to pass on, and whether the client detached."""


class _End(asyncio.Protocol):
    """One transport of a relay. ``other`` is slowed down while this one's buffer is full."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=_BUFFER)

    @property
    def open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def write(self, data: bytes) -> None:
        if data and self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end_writing(self) -> None:
        if self.transport is not None and self.open and self.transport.can_write_eof():
            self.transport.write_eof()

    def hold(self, held: bool) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if held:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold(True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.relay.lost(self)


class _Client(_End):
    def data_received(self, data: bytes) -> None:
        self.relay.from_client(data)

    def eof_received(self) -> bool:
        self.relay.client_ended()
        return True


class _Engine(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Until the client is ready. Not at once: in early versions of Python 3.11 the transport
        # begins to read after this call, paused or not.
        asyncio.get_running_loop().call_soon(self.hold, True)

    def data_received(self, data: bytes) -> None:
        self.relay.from_engine(data)

    def eof_received(self) -> bool:
        self.relay.engine_ended()
        return True


class Relay:
    """Joins a connection to a socket. ``accept_input`` False drops what the client sends.

    ``finish_on_input_end``: the end of the client's input ends the relay (a protocol without
    half-close). ``settled`` is asked for at the end of the engine's stream, and what it gives is
    waited for, a while, before the client sees the end.
    """

    def __init__(
        self,
        watch: HangupWatch,
        *,
        accept_input: bool,
        codec: Codec | None = None,
        inspect: Input | None = None,
        finish_on_input_end: bool = False,
        settled: Callable[[], Future[Any]] | None = None,
    ) -> None:
        self._watch = watch
        self._accept_input = accept_input
        self._codec = codec or Plain()
        self._inspect = inspect
        self._finish_on_input_end = finish_on_input_end
        self._settled = settled
        self._client = _Client(self)
        self._engine = _Engine(self)
        self._client.other, self._engine.other = self._engine, self._client
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watched = -1
        self._input_over = False
        self._output_over = False
        self._timer: asyncio.TimerHandle | None = None
        self.detached = False

    async def run(
        self,
        wire: Wire,
        greeting: bytes,
        engine: Callable[[], Awaitable[socket.socket]],
        replay: bytes = b"",
    ) -> None:
        """Send ``greeting`` to the client, then ask for the engine's stream, which is owned from
        then on, send ``replay`` as if it came from there, and relay until the stream or the
        client ends."""
        try:
            rest = self._greet(wire, greeting)
            await self._connect(await engine())
            await _until_taken(wire.transport)
            self._client.write(self._codec.encode(replay) if replay else b"")
            if rest:
                self.from_client(rest)
            self._client.hold(False)
            self._engine.hold(False)
            await self._done
        finally:
            self.close()

    def _greet(self, wire: Wire, greeting: bytes) -> bytes:
        self._client.connection_made(wire.transport)
        wire.transport.pause_reading()
        wire.transport.write(greeting)
        return wire.take_over(self._client)

    async def _connect(self, engine: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        engine.setblocking(False)
        try:
            if engine.family == socket.AF_UNIX:
                await loop.create_unix_connection(lambda: self._engine, sock=engine)
            else:
                await loop.create_connection(lambda: self._engine, sock=engine)
        finally:
            if self._engine.transport is None:
                engine.close()

    # --- from the client -----------------------------------------------------------------------

    def from_client(self, data: bytes) -> None:
        try:
            payload = self._codec.decode(data)
        except StreamClosed:
            self._client.write(self._codec.replies())
            self._finish()
            return
        self._client.write(self._codec.replies())
        if not payload or not self._accept_input or self._input_over:
            return
        if self._inspect is not None:
            payload, self.detached = self._inspect(payload)
        self._engine.write(payload)
        if self.detached:
            self._finish()

    def client_ended(self) -> None:
        if self._output_over or self._finish_on_input_end:
            self._finish()
            return
        self._input_over = True
        if self._accept_input:
            self._engine.end_writing()
        transport = self._client.transport
        if transport is None or hung_up(transport):
            self._finish()
            return
        self._watched = transport.get_extra_info("socket").fileno()
        self._watch.add(self._watched, self._finish)

    # --- from the engine -----------------------------------------------------------------------

    def from_engine(self, data: bytes) -> None:
        self._client.write(self._codec.encode(data))

    def engine_ended(self) -> None:
        if self._output_over:
            return
        self._output_over = True
        if self._settled is None:
            self._say_goodbye()
            return
        settled = self._settled()
        if settled.done():
            self._say_goodbye()
            return
        waiting = asyncio.wrap_future(settled)
        self._timer = asyncio.get_running_loop().call_later(_SETTLE, waiting.cancel)
        waiting.add_done_callback(lambda _: self._say_goodbye())

    def _say_goodbye(self) -> None:
        """All output is on its way: half-close, so that a client that still sends is not cut
        off with a reset before it has read everything."""
        if self._done.done():
            return
        self._client.write(self._codec.farewell())
        if self._input_over or not self._client.open:
            self._finish()
            return
        self._client.end_writing()
        self._accept_input = False
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(_LINGER, self._finish)

    # --- the end -------------------------------------------------------------------------------

    def lost(self, end: _End) -> None:
        if end is self._engine and not self._output_over:
            self.engine_ended()
        elif end is self._client:
            self._finish()

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Close both ends; what was written to the client is still delivered."""
        if self._watched >= 0:
            self._watch.remove(self._watched)
            self._watched = -1
        self._stop_timer()
        for end in (self._client, self._engine):
            if end.transport is not None:
                end.transport.close()
        self._finish()
