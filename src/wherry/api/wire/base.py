"""What all wire types share."""

from __future__ import annotations

from typing import Any

import msgspec


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", gc=False):
    """A frozen answer with the API's capitalised names. Fields that are ``UNSET`` are left out."""


Json = Any
"""What ``msgspec.json`` can encode."""


def without(value: Any, *optional: str) -> dict[str, Any]:
    """A struct as a map, leaving out those of ``optional`` that are null (Go's ``omitempty``)."""
    members: dict[str, Any] = msgspec.to_builtins(value)
    for name in optional:
        if members.get(name) in (None, ""):
            members.pop(name, None)
    return members
