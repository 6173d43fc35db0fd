"""An exec that a server was asked for, until it answers: nobody waits for that."""

from __future__ import annotations

import socket
from collections.abc import Callable

from wherry.errors import InvalidArgument
from wherry.runtime import messages as msg


class AskedExec:
    """The engine's end of the answer's connection. ``answered`` is called once, with None if the
    server was killed or the engine ends; it tells whether the connection goes on as another's."""

    def __init__(
        self, sock: socket.socket, answered: Callable[[msg.ToEngine | None], bool]
    ) -> None:
        self._sock = sock
        self._answered = answered
        self._waiting = True

    def fileno(self) -> int:
        return self._sock.fileno()

    def readable(self) -> bool:
        """Take the answer, on the runtime's thread; False if nothing comes after it."""
        try:
            packet = msg.receive(self._sock, msg.to_engine, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except (OSError, InvalidArgument):
            packet = None
        self._waiting = False
        return self._answered(packet[0] if packet else None)

    def disconnect(self) -> None:
        """Close the connection."""
        self._sock.close()
        if self._waiting:
            self._waiting = False
            self._answered(None)
