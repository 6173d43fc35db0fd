"""Packets of a SOCK_SEQPACKET socket: a JSON object each, descriptors beside it (SCM_RIGHTS)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from wherry.errors import InvalidArgument

MAX_PACKET = 160 * 1024
_LONG = b"#"  # in place of a message that is too long for a packet
MAX_FDS = 250  # the kernel's SCM_MAX_FD is 253

# As plain numbers: the enumerations of the socket module cost a monitor memory.
_ROOM = socket.CMSG_SPACE(MAX_FDS * 4)
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_SOCKET = int(socket.SOL_SOCKET)
_RIGHTS = int(socket.SCM_RIGHTS)

_encoder = msgspec.json.Encoder()

T = TypeVar("T")


def encode(message: msgspec.Struct) -> bytes:
    return _encoder.encode(message)


def send(
    sock: socket.socket, message: msgspec.Struct, fds: Sequence[int] = (), flags: int = 0
) -> None:
    """Send one packet. OSError if the other side has gone or, with MSG_DONTWAIT, does not read."""
    send_packet(sock, _encoder.encode(message), fds, flags)


def send_packet(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int = 0) -> None:
    """Send bytes and descriptors as one packet; InvalidArgument if they are too many for one."""
    if len(data) > MAX_PACKET:
        _send_long(sock, data, fds, flags)
        return
    flags |= socket.MSG_NOSIGNAL
    if not fds:
        sock.send(data, flags)
        return
    if len(fds) > MAX_FDS:
        raise InvalidArgument(f"{len(fds)} descriptors are too many for one message")
    rights = struct.pack(f"{len(fds)}i", *fds)
    sock.sendmsg([data], [(_SOCKET, _RIGHTS, rights)], flags)


def _send_long(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int) -> None:
    from wherry.runtime.long_messages import enclose  # few are

    file = enclose(data)
    try:
        send_packet(sock, _LONG, [*fds, file], flags)
    finally:
        os.close(file)


def _read_long(fds: list[int]) -> bytes:
    from wherry.runtime.long_messages import disclose

    if not fds:
        raise InvalidArgument("a long message has no descriptor")
    return disclose(fds.pop())


def receive(
    sock: socket.socket, decoder: msgspec.json.Decoder[T], flags: int = 0, room: int = MAX_PACKET
) -> tuple[T, list[int]] | None:
    """Receive one packet and its descriptors (close-on-exec, the caller's); None at the end.

    InvalidArgument if the packet is not a message that ``decoder`` knows.
    """
    data, fds, got = receive_packet(sock, room, flags)
    if not data:
        close_all(fds)
        return None
    try:
        if got & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise InvalidArgument("a message between engine and launcher was cut short")
        return decoder.decode(_read_long(fds) if data == _LONG else data), fds
    except (msgspec.DecodeError, InvalidArgument) as error:
        close_all(fds)
        raise InvalidArgument(f"a message is not understood: {error}") from None


def receive_packet(sock: socket.socket, size: int, flags: int = 0) -> tuple[bytes, list[int], int]:
    """Receive a packet as it is: bytes, descriptors, and the flags that recvmsg(2) returned."""
    data, ancillary, got, _ = sock.recvmsg(size, _ROOM, flags | _CLOEXEC)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == _SOCKET and kind == _RIGHTS:
            fds += memoryview(rights[: len(rights) & ~3]).cast("i").tolist()
    return data, fds, got


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
