"""One client connection: requests in turn, answers in the same order, until it is closed.

A request is handled by one task. While it runs, what follows it stays in a bounded buffer. The
end of the client's input (which may be a half-close) cancels a handler that streams, and any
handler if the client can be seen to be gone altogether; otherwise the answer is still sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from wherry.api.http.body import Body, ClientGone, framing_of
from wherry.api.http.hangup import hung_up
from wherry.api.http.head import HTTP_11, BadRequest, parse_head
from wherry.api.http.message import Answer, Reply, Request, make_request, render_head

_HEAD_LIMIT = 512 * 1024  # X-Registry-Config may hold the credentials of many registries
_PIPELINE_LIMIT = 1024 * 1024
_HEAD_PATIENCE = 30.0  # seconds from the first byte of a head to its end
_LINGER = 5.0  # seconds to read on after an answer that did not wait for the body
_WRITE_HIGH = 256 * 1024
_BODYLESS = (204, 304)

Handler = Callable[[Request], Awaitable[Answer]]
log = logging.getLogger("wherry.http")


class Connection(asyncio.Protocol):
    """Implements :class:`wherry.api.http.message.Wire` for its requests."""

    def __init__(self, handler: Handler, peers: set[Connection], realm: str = "") -> None:
        self.realm = realm
        self._handler = handler
        self._peers = peers
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._body: Body | None = None
        self._task: asyncio.Task[None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = False
        self.streaming = False
        self._input_ended = False
        self._closing = False  # close after the present answer
        self._discarding = False
        self._taken = False
        self.remote = False

    # --- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self.remote = isinstance(transport.get_extra_info("sockname"), tuple)
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._stop_head_timer()
        self.resume_writing()
        if self._body is not None:
            self._body.fail(ClientGone("the client closed the connection"))
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        try:
            if self._body is not None and not self._body.complete:
                data = self._body.feed(data)
            self._buffer += data
            self._advance()
        except BadRequest as error:
            self._refuse(error)

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._body is not None:
            self._body.fail(ClientGone("the client closed the connection"))
        if self._task is None or self._discarding:
            return False
        if self.streaming or hung_up(self.transport):
            self._task.cancel()
            return False
        return True  # a half-close: the answer is still wanted

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- Wire ----------------------------------------------------------------------------------

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    async def drain(self) -> None:
        if self.transport.is_closing():
            raise ClientGone("the client closed the connection")
        while self._writing_paused and not self.transport.is_closing():
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    async def flush(self) -> None:
        self.transport.set_write_buffer_limits(high=0)
        try:
            await self.drain()
        finally:
            self.transport.set_write_buffer_limits(high=_WRITE_HIGH)

    @property
    def plain(self) -> bool:
        return self.transport.get_extra_info("ssl_object") is None

    def start_stream(self) -> None:
        self.streaming = True
        if self._input_ended and self._task is not None:
            self._task.cancel()

    def take_over(self, protocol: asyncio.BaseProtocol) -> bytes:
        self._taken = self.streaming = True
        rest = bytes(self._buffer)
        self._buffer.clear()
        self.transport.set_protocol(protocol)
        if self._input_ended:
            loop = asyncio.get_running_loop()
            loop.call_soon(cast(asyncio.Protocol, protocol).eof_received)
        return rest

    # --- requests ------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Start the next request if its head is complete and no other one is being answered."""
        if self._task is not None:
            if len(self._buffer) > _PIPELINE_LIMIT:
                self._refuse(BadRequest("the client sent more requests than can be held"))
            return
        while self._buffer.startswith(b"\r\n"):  # RFC 9112, section 2.2
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            self._await_head()
            return
        if end > _HEAD_LIMIT:
            raise BadRequest(f"the request head is larger than {_HEAD_LIMIT} bytes")
        data = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        self._stop_head_timer()
        self._begin(data)

    def _await_head(self) -> None:
        if len(self._buffer) > _HEAD_LIMIT:
            raise BadRequest(f"the request head is larger than {_HEAD_LIMIT} bytes")
        if self._buffer and self._head_timer is None:
            loop = asyncio.get_running_loop()
            self._head_timer = loop.call_later(_HEAD_PATIENCE, self.transport.abort)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _begin(self, data: bytes) -> None:
        head = parse_head(data)
        proceed = (
            self._proceed if head.headers.get("expect", "").lower() == "100-continue" else None
        )
        self._body = Body(framing_of(head), flow=self._flow, on_first_read=proceed)
        request = make_request(head, self._body, self)
        self._closing = not head.keep_alive
        self.streaming = False
        if self._buffer and not self._body.complete:
            self._buffer[:] = self._body.feed(bytes(self._buffer))
        self._task = asyncio.get_running_loop().create_task(self._serve(request))

    def _proceed(self) -> None:
        if self._body is not None and not self._body.complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _flow(self, go_on: bool) -> None:
        if self._taken or self.transport.is_closing():
            return
        if go_on:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._handler(request)
            if isinstance(answer, Reply):
                self._send(request, answer)
            elif answer is not None:
                await answer.finish()
                self._closing = self._closing or request.head.version != HTTP_11
        except ClientGone:
            self._closing = True
        except asyncio.CancelledError:
            self._give_up()
            raise
        except Exception:
            log.exception("an answer to %s %s broke off", request.method, request.path)
            self._give_up()
            return
        finally:
            if self._taken:  # connection_lost goes to the new protocol
                self._peers.discard(self)
        self._done()

    def _send(self, request: Request, reply: Reply) -> None:
        headers = dict(reply.headers)
        if reply.content_type:
            headers["Content-Type"] = reply.content_type
        if reply.status not in _BODYLESS:
            headers.setdefault("Content-Length", str(len(reply.body)))
        if not request.body.complete:
            self._closing = True
        if self._closing:
            headers["Connection"] = "close"
        elif request.head.version != HTTP_11:
            headers["Connection"] = "keep-alive"
        body = b"" if request.method == "HEAD" or reply.status in _BODYLESS else reply.body
        self.transport.write(render_head(reply.status, headers) + body)

    def _give_up(self) -> None:
        """Close without the end of the answer, so that the client sees that it broke off."""
        if not self._taken:
            self.transport.abort()

    def _done(self) -> None:
        self._task = None
        if self._taken or self.transport.is_closing():
            return
        if self._closing or self._input_ended:
            self._linger_or_close()
            return
        if self._body is not None and not self._body.complete:
            self._linger_or_close()
            return
        self._body = None
        if self._buffer:
            self.data_received(b"")

    def _linger_or_close(self) -> None:
        """Close; but let a client that is still sending read its answer first."""
        waiting = self._body is not None and not self._body.complete
        if not waiting or self._input_ended:
            self.transport.close()
            return
        self._discarding = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER, self.transport.close)

    def _refuse(self, error: BadRequest) -> None:
        """Answer 400 to what is not HTTP, and close."""
        if self._body is not None and not self._body.complete and self._task is not None:
            self._body.fail(error)  # the handler answers
            self._discarding = True
            return
        if self._task is not None:
            self._closing = True
            self._discarding = True
            return
        body = b"400 Bad Request: " + str(error).encode()
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        self.transport.write(render_head(400, headers) + body)
        self.transport.close()

    # --- shutting down -------------------------------------------------------------------------

    def shut_down(self) -> asyncio.Task[None] | None:
        """Cancel what streams and close if idle; returns the task of a short request that runs."""
        if self._task is None:
            self.transport.close()
            return None
        if self.streaming:
            self._task.cancel()
        self._closing = True
        return self._task
