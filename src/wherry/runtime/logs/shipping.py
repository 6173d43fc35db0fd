"""What a container prints, on its way to a process that keeps or sends it.

A monitor never waits for a logging service: it hands records over to a shipper, a process that it
forks for this, and that may wait. What the shipper does not take is kept in the monitor. Then
either the container waits (Docker's ``mode=blocking``), or the oldest is dropped
(``mode=non-blocking``).

    monitor ──records, one packet each──► shipper ──► journald, syslog, fluentd, gelf, a slow disk
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections import deque
from collections.abc import Iterable

from wherry.runtime.api import LogSettings
from wherry.runtime.logs import formats
from wherry.runtime.logs.lines import Entry

BLOCKED = 64 * 1024
"""Bytes that are kept before the container has to wait."""
GRACE = 10.0
"""Seconds that a shipper has for the rest after the container's end (as dockerd's)."""

_QUIET = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


class Shipper:
    """The monitor's end. Watch ``fileno()`` for writing while there is something ``pending``."""

    def __init__(self, settings: LogSettings) -> None:
        self._limit = settings.buffer  # 0: nothing is dropped
        self._kept: deque[bytes] = deque()
        self._size = 0
        self._gone = False
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            from wherry.runtime.logs.shipper import become_shipper

            become_shipper(settings, theirs)
        theirs.close()

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def pending(self) -> bool:
        return bool(self._kept)

    @property
    def full(self) -> bool:
        """Whether the container has to wait."""
        return not self._limit and self._size >= BLOCKED

    def write(self, stream: int, entries: Iterable[Entry]) -> None:
        """Hand entries over, or keep them; nothing, if the shipper was killed."""
        for time_ns, data, partial in entries:
            if self._limit and self._kept and not partial:
                # so that not more is dropped than needed
                for number, line in enumerate(formats.split_lines(data)):
                    self._keep(formats.local_record(stream, time_ns + number, line, False))
            else:
                self._keep(formats.local_record(stream, time_ns, data, partial))
        self.flush()

    def _keep(self, record: bytes) -> None:
        if self._gone:
            return
        self._kept.append(record)
        self._size += len(record)
        while self._limit and self._size > self._limit and len(self._kept) > 1:
            self._size -= len(self._kept.popleft())

    def flush(self) -> None:
        """Hand over what was kept, as far as the shipper takes it."""
        while self._kept:
            try:
                self._sock.send(self._kept[0], _QUIET)
            except BlockingIOError:
                return
            except OSError:
                self._gone = True
                self._kept.clear()
                self._size = 0
                return
            self._size -= len(self._kept.popleft())

    def end(self, patience: float = GRACE) -> None:
        """Hand over the rest and wait for the shipper's end, at most ``patience`` seconds."""
        pidfd = os.pidfd_open(self._pid)
        self._sock.settimeout(patience)
        try:
            while self._kept:
                self._sock.send(self._kept.popleft(), socket.MSG_NOSIGNAL)
            self._sock.shutdown(socket.SHUT_WR)
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(patience * 1000)
        except OSError:
            pass  # it is gone, or it took nothing for too long
        self._sock.close()
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        os.waitpid(self._pid, 0)
