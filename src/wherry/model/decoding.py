"""JSON to structs, safe in threads.

msgspec learns the fields of a struct when it meets it for the first time, and two threads that do
so at once crash the process (seen with 0.22). So every type is learnt under one lock.
"""

from __future__ import annotations

from _thread import allocate_lock  # the module threading costs the command line a millisecond
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_learning = allocate_lock()
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoded(data: bytes | str, kind: type[T]) -> T:
    """The value that JSON describes; msgspec.DecodeError, ValidationError."""
    value: T = learnt(kind).decode(data)
    return value


def learnt(kind: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of a type; ``msgspec.convert`` is safe afterwards, too."""
    found = _decoders.get(kind)
    if found is None:
        with _learning:
            found = _decoders[kind] = msgspec.json.Decoder(kind)
    return found
