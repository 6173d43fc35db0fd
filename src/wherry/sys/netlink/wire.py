"""The encoding of netlink messages and attributes (netlink(7), linux/netlink.h).

Headers are in host byte order. Attributes are too in rtnetlink; nf_tables and conntrack have
theirs in network byte order, for which there are the ``be`` functions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200

NLMSG_ERROR = 2
NLMSG_DONE = 3

_NESTED = 0x8000
_TYPE_MASK = 0x3FFF
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
HEADER_SIZE = _HEADER.size


class Message(msgspec.Struct, frozen=True):
    """A message to send: its type, its flags and all that follows the header."""

    kind: int
    payload: bytes
    flags: int = 0

    def encode(self, sequence: int, flags: int = NLM_F_REQUEST) -> bytes:
        size = HEADER_SIZE + len(self.payload)
        header = _HEADER.pack(size, self.kind, self.flags | flags, sequence, 0)
        return header + self.payload + bytes(-size % 4)


class Received(msgspec.Struct, frozen=True):
    """A message from the kernel."""

    kind: int
    flags: int
    sequence: int
    payload: bytes
    port: int = 0
    """The socket that asked for it, also of what the kernel tells everybody."""


def split_messages(datagram: bytes) -> Iterator[Received]:
    """The messages of one datagram; ValueError if their lengths make no sense."""
    offset = 0
    while offset + HEADER_SIZE <= len(datagram):
        size, kind, flags, sequence, port = _HEADER.unpack_from(datagram, offset)
        if size < HEADER_SIZE or offset + size > len(datagram):
            raise ValueError(f"netlink message of {size} bytes at {offset} of {len(datagram)}")
        payload = datagram[offset + HEADER_SIZE : offset + size]
        yield Received(kind, flags, sequence, payload, port)
        offset += (size + 3) & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = _ATTRIBUTE.size + len(payload)
    if size > 0xFFFF:
        raise ValueError(f"netlink attribute {kind} of {size} bytes is larger than 64 KiB")
    return _ATTRIBUTE.pack(size, kind) + payload + bytes(-size % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """A string that ends with a zero byte."""
    return attribute(kind, value.encode() + b"\0")


def u8(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=B", value))


def u16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def be16(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">H", value))


def be32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">I", value & 0xFFFFFFFF))


def be64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">Q", value))


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type, without the nesting flag; the last of a type wins."""
    return dict(attribute_list(data))


def attribute_list(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each attribute; ValueError if a length makes no sense."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, offset)
        if size < _ATTRIBUTE.size or offset + size > len(data):
            raise ValueError(f"netlink attribute of {size} bytes at {offset} of {len(data)}")
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + size]
        offset += (size + 3) & ~3


def string_of(payload: bytes) -> str:
    """The text of a string attribute."""
    return payload.split(b"\0", 1)[0].decode("utf-8", "replace")
