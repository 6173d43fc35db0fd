"""DNS messages (RFC 1035), as much as a resolver in between needs: questions and short answers.

What is forwarded is passed on as it came; so only a question is ever parsed, strictly, and answers
are made from addresses and names. Decision 50 says why this is our own.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

import msgspec

A, PTR, AAAA, ANY = 1, 12, 28, 255
INTERNET = 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED = 0, 1, 2, 4, 5

UDP_SIZE = 512
"""Of an answer by UDP to who says nothing of its buffer (RFC 1035, 4.2.1)."""
MESSAGE_LIMIT = 65535
LIFETIME = 600
"""Seconds an answer may be kept; as Docker's."""

_HEADER = struct.Struct(">HHHHHH")
_RECORD = struct.Struct(">HHIH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED = 0x8000, 0x0400, 0x0200
_RECURSION_WANTED, _RECURSION_OFFERED = 0x0100, 0x0080
_OPCODE, _CODE = 0x7800, 0x000F
_NAME_AT_START = b"\xc0\x0c"  # a pointer to the question's name
_LABEL_LIMIT, _NAME_LIMIT = 63, 255

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Malformed(ValueError):
    """A packet that is no question."""


class Question(msgspec.Struct, frozen=True):
    """A query with one question. ``name`` is in small letters, without the final dot; bytes that
    are not ASCII, and dots within a label, are written so that no name of ours equals it."""

    identity: int
    flags: int
    name: str
    kind: int
    family: int  # the class; 1 is the Internet
    end: int  # of the question section

    @property
    def is_plain(self) -> bool:
        """A standard query, not an update or a notification."""
        return not self.flags & _OPCODE


def parse_question(packet: bytes) -> Question:
    """Malformed for what is no query with exactly one question."""
    if not _HEADER.size < len(packet) <= MESSAGE_LIMIT:
        raise Malformed("a message of this size is no question")
    identity, flags, questions, _, _, _ = _HEADER.unpack_from(packet)
    if flags & _RESPONSE or questions != 1:
        raise Malformed("not one question")
    labels, position = _labels(packet, _HEADER.size)
    if position + 4 > len(packet):
        raise Malformed("the question is cut off")
    kind, family = struct.unpack_from(">HH", packet, position)
    return Question(identity, flags, ".".join(labels).lower(), kind, family, position + 4)


def _labels(packet: bytes, position: int) -> tuple[list[str], int]:
    """The labels of a name and where it ends. In a question nothing can be pointed to."""
    labels: list[str] = []
    start = position
    while True:
        if position >= len(packet):
            raise Malformed("the name is cut off")
        size = packet[position]
        position += 1
        if size > _LABEL_LIMIT:
            raise Malformed("a question's name has no pointers")
        if position + size - start > _NAME_LIMIT:
            raise Malformed("the name is too long")
        if not size:
            return labels, position
        label = packet[position : position + size]
        labels.append(label.decode("ascii", "backslashreplace").replace(".", "\\."))
        position += size


def is_answer_to(packet: bytes, query: bytes, question: Question) -> bool:
    """Whether a server's message belongs to the query: identity, and the question itself."""
    if len(packet) < _HEADER.size or packet[:2] != query[:2] or not packet[2] & 0x80:
        return False
    if packet[4:6] == b"\0\0":
        return bool(packet[3] & _CODE)  # refusals may come without the question
    asked = query[_HEADER.size : question.end].lower()
    return packet[_HEADER.size : question.end].lower() == asked


def code_of(packet: bytes) -> int:
    """The response code of an answer."""
    return packet[3] & _CODE


def with_identity(packet: bytes, identity: bytes) -> bytes:
    """The same message under another identity of two bytes."""
    return identity + packet[2:]


def failure(packet: bytes, question: Question | None, code: int) -> bytes:
    """An answer that says only what went wrong."""
    if question is None:
        return _HEADER.pack(int.from_bytes(packet[:2], "big"), _RESPONSE | code, 0, 0, 0, 0)
    flags = _flags(question) & ~_AUTHORITATIVE | code
    return _whole(packet, question, flags, ())


def addresses(packet: bytes, question: Question, found: Sequence[Address], limit: int) -> bytes:
    """The answer that names these addresses, as many as ``limit`` bytes hold."""
    return _answer(packet, question, [(_kind(one), one.packed) for one in found], limit)


def pointers(packet: bytes, question: Question, names: Sequence[str], limit: int) -> bytes:
    """The answer to the question for an address's names."""
    return _answer(packet, question, [(PTR, encode_name(name)) for name in names], limit)


def encode_name(name: str) -> bytes:
    """A name as it is in messages; ValueError for one that cannot be."""
    parts = [label.encode("ascii") for label in name.split(".")]
    if not all(0 < len(part) <= _LABEL_LIMIT for part in parts):
        raise ValueError(f"{name!r} has a label that is too long or empty")
    encoded = b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
    if len(encoded) > _NAME_LIMIT:
        raise ValueError(f"{name!r} is too long")
    return encoded


def _kind(address: Address) -> int:
    return A if address.version == 4 else AAAA


def _answer(
    packet: bytes, question: Question, found: Sequence[tuple[int, bytes]], limit: int
) -> bytes:
    records: list[bytes] = []
    room = limit - question.end
    flags = _flags(question)
    for kind, data in found:
        record = _NAME_AT_START + _RECORD.pack(kind, INTERNET, LIFETIME, len(data)) + data
        room -= len(record)
        if room < 0:
            flags |= _TRUNCATED
            break
        records.append(record)
    return _whole(packet, question, flags, records)


def _flags(question: Question) -> int:
    wanted = question.flags & (_RECURSION_WANTED | _OPCODE)
    return _RESPONSE | _AUTHORITATIVE | _RECURSION_OFFERED | wanted


def _whole(packet: bytes, question: Question, flags: int, records: Sequence[bytes]) -> bytes:
    header = _HEADER.pack(question.identity, flags, 1, len(records), 0, 0)
    return header + packet[_HEADER.size : question.end] + b"".join(records)


def pointed_address(name: str) -> Address | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for."""
    labels = name.split(".")
    if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
        return _address(".".join(reversed(labels[:4])))
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        if any(len(label) != 1 for label in labels[:32]):
            return None
        digits = "".join(reversed(labels[:32]))
        return _address(":".join(digits[n : n + 4] for n in range(0, 32, 4)))
    return None


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
