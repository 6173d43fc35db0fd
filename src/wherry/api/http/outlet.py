"""The body of an answer, sent by the thread that makes it.

A thread that hands each piece to the event loop waits for the interpreter's lock as often as the
loop does, and the pieces lie in memory meanwhile. So the loop sends the head, the thread the rest
by itself, with a descriptor of its own for the client's socket; the loop goes on looking whether
the client is there.
"""

from __future__ import annotations

import select
import socket
from concurrent.futures import CancelledError, Future

from wherry.api.http.body import ClientGone

_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; beyond the limit of net.core.wmem_max
_SENDING = 1024 * 1024  # bytes; a Unix socket has an eighth of them otherwise


class Outlet:
    """A client's socket, for one thread. Bytes go out as they are given, in chunks if need be."""

    def __init__(self, sock: socket.socket, *, chunked: bool) -> None:
        """Takes the socket, which does not block, over."""
        self._sock = sock
        self._chunked = chunked
        if sock.family == socket.AF_UNIX:
            _enlarge(sock)
        self._poll = select.poll()
        self._poll.register(sock, select.POLLOUT)

    def send(self, data: bytes) -> None:
        """Returns when all of it is on its way; ClientGone if it never will be."""
        pieces = [b"%x\r\n" % len(data), data, b"\r\n"] if self._chunked else [data]
        try:
            sent = self._some(pieces)
            for piece in pieces:
                view = memoryview(piece)[sent:]
                sent = max(0, sent - len(piece))
                while view:
                    view = view[self._some([view]) :]
        except OSError:
            raise ClientGone("the client closed the connection") from None

    def _some(self, pieces: list[bytes] | list[memoryview]) -> int:
        while True:
            try:
                return self._sock.sendmsg(pieces)
            except BlockingIOError:
                self._poll.poll()

    def cut(self) -> None:
        """From anywhere: let a thread that waits for the client wait no more."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is gone

    def close(self) -> None:
        self._sock.close()


def _enlarge(sock: socket.socket) -> None:
    """Let more be on its way, so that the thread and the client wait for each other less often."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SENDING)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING)


class Download:
    """Where a thread puts the pieces of a body. ``wanted`` is done at the first: the loop then
    sends the head and gives the outlet."""

    def __init__(self) -> None:
        self.wanted: Future[None] = Future()
        self._given: Future[Outlet] = Future()
        self._outlet: Outlet | None = None

    def put(self, data: bytes) -> None:
        """From the thread. ClientGone when nobody listens any more."""
        if self._outlet is None:
            self.wanted.set_result(None)
            try:
                self._outlet = self._given.result()
            except CancelledError:
                raise ClientGone("the client closed the connection") from None
        if data:
            self._outlet.send(data)

    def give(self, outlet: Outlet) -> None:
        """From the loop."""
        self._given.set_result(outlet)

    def abandon(self) -> None:
        """From the loop: nobody listens any more."""
        if not self._given.cancel():
            self._given.result().cut()

    def end(self) -> None:
        """From the loop: the thread is done."""
        if not self._given.cancel():
            self._given.result().close()
