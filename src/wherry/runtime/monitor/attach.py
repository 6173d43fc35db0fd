"""Clients that are attached to a process's standard streams, in its monitor.

A client that reads slowly has what it did not take kept for it, up to a limit; above that the
container's output is not read on, so that the container waits for the client as it would for a
terminal. A client that takes nothing at all for ``STALLED`` seconds then is let go.
"""

from __future__ import annotations

import socket
import struct
import time

BUFFER = 1 << 20
"""Bytes that are kept for a client before the container has to wait."""
STALLED = 600.0
"""Seconds without any progress after which a client that is over its limit is let go."""

_FRAME = struct.Struct(">BxxxI")
_QUIET = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Client:
    """One attached client; ``streams`` holds the numbers of those it wants (0, 1, 2)."""

    def __init__(self, sock: socket.socket, streams: frozenset[int], raw: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.streams = streams
        self.reading = 0 in streams  # until its half-close
        self._raw = raw
        self._pending = bytearray()
        self._progress = 0.0

    @property
    def pending(self) -> int:
        """Bytes that it has not taken yet."""
        return len(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= BUFFER

    def stalled(self) -> bool:
        """Whether it is over its limit and took nothing for too long."""
        return self.full and time.monotonic() - self._progress > STALLED

    def deliver(self, stream: int, data: bytes) -> None:
        """Send output, or keep it. OSError if the client has gone."""
        if stream not in self.streams:
            return
        if not self._raw:
            data = _FRAME.pack(stream, len(data)) + data
        if self._pending:
            self._pending += data
            return
        sent = self._send(data)
        if sent < len(data):
            self._pending += data[sent:]
            self._progress = time.monotonic()

    def flush(self) -> None:
        """Send what was kept. OSError if the client has gone."""
        while self._pending:
            sent = self._send(memoryview(self._pending)[: 1 << 18].tobytes())
            if not sent:
                return
            self._progress = time.monotonic()
            del self._pending[:sent]

    def _send(self, data: bytes) -> int:
        try:
            return self.sock.send(data, _QUIET)
        except BlockingIOError:
            return 0

    def receive(self, size: int) -> bytes | None:
        """What it typed; b"" at its end, None if there is nothing now."""
        try:
            return self.sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""
