"""The journal of systemd (systemd.io, "Native Journal Protocol"), with Docker's fields."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from itertools import count

from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers.messages import Message
from wherry.runtime.logs.drivers.values import ATTRIBUTES, check_names
from wherry.runtime.logs.formats import rfc3339_nano

SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = {1: b"6", 2: b"3"}  # info and err of syslog(3)


def check(options: Mapping[str, str]) -> None:
    """See :func:`wherry.runtime.logs.drivers.check_options`."""
    check_names("journald", options, ATTRIBUTES)


def open_driver(target: LogTarget) -> Journald:
    """See :func:`wherry.runtime.logs.drivers.open_driver`."""
    return Journald(target, SOCKET)


class Journald:
    """Sends each message as one datagram, or as a sealed file if it is too long for one."""

    def __init__(self, target: LogTarget, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._sock.connect(path)
        except OSError as error:
            self._sock.close()
            raise OSError(error.errno, "journald is not enabled on this host", path) from error
        self._path = path
        self._ordinals = count(1)
        self._fields = b"".join(field(name, value) for name, value in _identity(target).items())

    def log(self, message: Message) -> None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        parts = [self._fields, field("MESSAGE", message.line)]
        parts.append(field("PRIORITY", _PRIORITIES.get(message.stream, b"6")))
        parts.append(field("SYSLOG_TIMESTAMP", rfc3339_nano(message.time_ns).encode()))
        parts.append(field("CONTAINER_LOG_ORDINAL", b"%d" % next(self._ordinals)))
        if message.piece is not None:
            parts.append(_piece(message))
        self._send(b"".join(parts))

    def _send(self, data: bytes) -> None:
        try:
            self._sock.send(data)
        except (ConnectionRefusedError, ConnectionResetError):  # journald was restarted
            self._sock.connect(self._path)
            self._sock.send(data)
        except OSError as error:
            if error.errno not in (90, 105):  # EMSGSIZE, ENOBUFS
                raise
            self._send_file(data)

    def _send_file(self, data: bytes) -> None:
        """A datagram without payload whose descriptor is a memory file that nobody can change."""
        import fcntl

        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, data)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            socket.send_fds(self._sock, [b""], [fd])
        finally:
            os.close(fd)

    def idle(self) -> float | None:
        """See :class:`wherry.runtime.logs.drivers.Driver`."""
        return None

    def close(self) -> None:
        self._sock.close()


def field(name: str, value: bytes) -> bytes:
    """One field; a value with a newline has its length before it."""
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _identity(target: LogTarget) -> dict[str, bytes]:
    """The fields that all messages have. Attributes cannot replace Docker's own."""
    own = {
        "CONTAINER_ID": target.container_id[:12],
        "CONTAINER_ID_FULL": target.container_id,
        "CONTAINER_NAME": target.container_name,
        "CONTAINER_TAG": target.tag,
        "IMAGE_NAME": target.image_name,
        "SYSLOG_IDENTIFIER": target.tag,
        "CONTAINER_LOG_EPOCH": os.urandom(32).hex(),
    }
    extra = {field_name(name): value for name, value in target.attributes.items()}
    extra.pop("", None)
    return {name: value.encode() for name, value in (extra | own).items()}


def field_name(text: str) -> str:
    """A label's or a variable's name as the journal takes it: A-Z, 0-9 and _, not _ first."""
    return re.sub(r"[^A-Z0-9_]", "_", text.upper()).lstrip("_")[:64]


def _piece(message: Message) -> bytes:
    piece = message.piece
    assert piece is not None
    parts = field("CONTAINER_PARTIAL_ID", piece.id.encode())
    parts += field("CONTAINER_PARTIAL_ORDINAL", b"%d" % piece.ordinal)
    parts += field("CONTAINER_PARTIAL_LAST", b"true" if piece.last else b"false")
    return parts if piece.last else parts + field("CONTAINER_PARTIAL_MESSAGE", b"true")
