"""Reading JSON that somebody else wrote: configurations and processes."""

from __future__ import annotations

import os
from typing import TypeVar

import msgspec

from wherry.errors import InternalError, InvalidArgument
from wherry.model.runtime_spec import Spec

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
_PIECE = 4096
_ZERO = b"\\u0000"

spec_decoder = msgspec.json.Decoder(Spec)


def read_bounded(path: str) -> bytes:
    """A file's content; OSError, and InvalidArgument if it is longer than ``MAX_BYTES``."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = _read_all(fd)
    finally:
        os.close(fd)
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{path} is longer than {MAX_BYTES} bytes")
    return data


def _read_all(fd: int) -> bytes:
    """All of it, or a byte more than ``MAX_BYTES``, without room for more than there is."""
    room = min(max(os.fstat(fd).st_size, _PIECE), MAX_BYTES) + 1
    data = os.read(fd, room)
    while len(data) <= MAX_BYTES and (more := os.read(fd, room)):
        data += more
    return data


def decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, what: str) -> T:
    """``data`` as ``decoder`` has it; InvalidArgument begins with ``what``.

    A zero byte in any text is refused: a system call would take what is before it, and what was
    checked would be more than that. A field that is null counts as absent, as it does in what is
    written in Go.
    """
    try:
        value = _decode(decoder, data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"{what}: {error}") from None
    if _ZERO in bytes(data) and _has_zero(bytes(data)):
        raise InvalidArgument(f"{what}: a text in it holds a zero byte")
    return value


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        if "got `null`" not in str(error):
            raise
    return decoder.decode(msgspec.json.encode(_without_nulls(msgspec.json.decode(data))))


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _has_zero(data: bytes) -> bool:
    """Whether an escape is one, and not part of an escaped backslash and four digits."""
    start = data.find(_ZERO)
    while start >= 0:
        before = data[:start]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return True
        start = data.find(_ZERO, start + 1)
    return False


def read_spec(bundle: str) -> Spec:
    """A bundle's ``config.json``; InternalError if it cannot be read, InvalidArgument if it is
    malformed."""
    path = os.path.join(bundle, "config.json")
    try:
        data = read_bounded(path)
    except OSError as error:
        raise InternalError(f"cannot read {path}: {error.strerror}") from None
    return decode(spec_decoder, data, f"{path} is not a runtime configuration")
