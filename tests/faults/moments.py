"""Listens where processes report the moments that they reach (``wherry.sys.faults``)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from wherry.sys.faults import Point

_CREDENTIALS = struct.Struct("3i")


class Moments:
    """A thread that lets everybody go on at once, but for the one who is waited for."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.reached: list[Point] = []
        self._armed: tuple[Point, Callable[[int], None]] | None = None
        self._struck = threading.Event()
        self._observe: Callable[[Point, int], None] = lambda point, pid: None
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.address)
        self._listener.listen(256)
        self._thread = threading.Thread(target=self._serve, name="moments", daemon=True)
        self._thread.start()

    def arm(self, point: Point, action: Callable[[int], None]) -> None:
        """Call ``action`` with the process that reaches ``point`` next, once, while it waits."""
        with self._lock:
            self._struck.clear()
            self._armed = (point, action)

    def disarm(self, seconds: float) -> bool:
        """Wait for somebody to come, as some do in the background; whether anybody did."""
        came = self._struck.wait(seconds)
        with self._lock:
            self._armed = None
        return came or self._struck.is_set()

    def observe(self, callback: Callable[[Point, int], None]) -> None:
        """Call ``callback`` with every point and the process that reached it."""
        self._observe = callback

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._attend(connection)

    def _attend(self, connection: socket.socket) -> None:
        try:
            point: Point = connection.recv(64).decode()  # type: ignore[assignment]
        except ConnectionResetError:
            return  # it was killed while it waited
        if not point:
            return
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid = _CREDENTIALS.unpack(raw)[0]
        self.reached.append(point)
        with self._lock:
            if self._armed and self._armed[0] == point:
                try:
                    self._armed[1](pid)
                finally:
                    self._armed = None
                    self._struck.set()
        self._observe(point, pid)
