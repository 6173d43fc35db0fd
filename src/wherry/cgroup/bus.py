"""systemd's manager by D-Bus (org.freedesktop.systemd1(5)), over the socket that it keeps for root.

That socket has no message bus in between, and works when the bus is down. Messages are those of
jeepney; it is imported with the first use, since most containers are started without systemd.
"""

from __future__ import annotations

import itertools
import socket
import time
from typing import Any

from wherry.errors import InternalError, NotFound, Unavailable

_SOCKET = "/run/systemd/private"
_PATIENCE_S = 30.0
_CHUNK = 65536
_GONE = frozenset({"org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitNotLoaded"})


class SystemdError(InternalError):
    """systemd refuses; ``name`` is the error's own."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"systemd refuses: {text}")
        self.name = name


class Manager:
    """A connection to systemd. A context that closes it. Unavailable if nobody answers."""

    def __init__(self, path: str = _SOCKET) -> None:
        from jeepney.low_level import Parser

        self._deadline = time.monotonic() + _PATIENCE_S
        self._parser = Parser()
        self._serials = itertools.count(1)
        self._ended: dict[str, str] = {}  # jobs and their results
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_PATIENCE_S)
            self._socket.connect(path)
            self._authenticate()
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"systemd cannot be asked at {path}: {error.strerror}") from None
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, method: str, signature: str, *arguments: object) -> tuple[Any, ...]:
        """Call a method of the manager and return its answer. NotFound for a unit that systemd
        does not know, SystemdError for every other refusal."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        address = DBusAddress(
            "/org/freedesktop/systemd1",
            bus_name="org.freedesktop.systemd1",
            interface="org.freedesktop.systemd1.Manager",
        )
        serial = next(self._serials)
        message = new_method_call(address, method, signature, arguments)
        self._socket.sendall(message.serialise(serial))
        while True:
            answer = self._receive()
            fields = answer.header.fields
            if fields.get(HeaderFields.reply_serial) != serial:
                continue
            if answer.header.message_type is not MessageType.error:
                return tuple(answer.body)
            name = str(fields.get(HeaderFields.error_name))
            text = str(answer.body[0]) if answer.body else name
            raise NotFound(text) if name in _GONE else SystemdError(name, text)

    def try_call(self, method: str, signature: str, *arguments: object) -> None:
        """Call a method whose refusal makes no difference."""
        try:
            self.call(method, signature, *arguments)
        except (NotFound, SystemdError):
            pass

    def run_job(self, method: str, signature: str, *arguments: object) -> str:
        """Call a method that begins a job, and wait for its end: ``done``, ``failed``, ..."""
        (job,) = self.call(method, signature, *arguments)
        while job not in self._ended:
            self._receive()
        return self._ended.pop(job)

    def _authenticate(self) -> None:
        """The kernel tells the other side who we are (D-Bus Specification, "EXTERNAL")."""
        from jeepney.auth import BEGIN, AuthenticationError, Authenticator

        authenticator = Authenticator()
        try:
            for data in authenticator:
                self._socket.sendall(data)
                authenticator.feed(self._read())
        except AuthenticationError as error:
            raise Unavailable(f"systemd does not let us in: {error}") from None
        self._socket.sendall(BEGIN)

    def _receive(self) -> Any:
        """The next message; the ends of jobs are remembered."""
        from jeepney import HeaderFields

        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._read())
        if message.header.fields.get(HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._ended[job] = result
        return message

    def _read(self) -> bytes:
        self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            data = self._socket.recv(_CHUNK)
        except TimeoutError:
            raise Unavailable(
                f"systemd has not answered within {_PATIENCE_S:.0f} seconds"
            ) from None
        if not data:
            raise Unavailable("systemd has closed the connection")
        return data
