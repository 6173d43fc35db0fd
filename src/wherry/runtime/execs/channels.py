"""The engine's connections to the exec servers of its containers (server.py)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from wherry.runtime import messages as msg


class NoExecServerError(Exception):
    """The container has no exec server that takes the request."""


class ExecChannels:
    """One for each container that has a server, by its state directory. For several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channels: dict[str, socket.socket] = {}

    def send(self, place: str, message: msg.ToExecServer, fds: Sequence[int]) -> None:
        """Send to a container's server. NoExecServerError if there is none, or one that takes
        nothing: it has ended, or is held up with its container."""
        with self._lock:
            channel = self._channels.get(place)
            if channel is None:
                raise NoExecServerError
            try:
                msg.send(channel, message, fds, socket.MSG_DONTWAIT)
            except OSError:
                self._forget(place)
                raise NoExecServerError from None

    def keep(self, place: str, channel: socket.socket) -> None:
        """Send to this server from now on; another one ends when it has nothing to do any more."""
        with self._lock:
            self._forget(place)
            self._channels[place] = channel

    def forget(self, place: str) -> None:
        """Close the connection of a container that has ended."""
        with self._lock:
            self._forget(place)

    def drop(self, fd: int) -> None:
        """Close the connection with this descriptor, if it is one; its server has ended."""
        with self._lock:
            for place, channel in list(self._channels.items()):
                if channel.fileno() == fd:
                    self._forget(place)

    def close(self) -> None:
        """Close all."""
        with self._lock:
            for place in list(self._channels):
                self._forget(place)

    def _forget(self, place: str) -> None:
        channel = self._channels.pop(place, None)
        if channel is not None:
            channel.close()
