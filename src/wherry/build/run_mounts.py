"""The value of ``RUN --mount=...``: comma separated, as one line of CSV.

Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

import csv
import re
from typing import Any

from wherry.build.flags import parse_bool
from wherry.build.instructions import RunMount
from wherry.errors import InvalidArgument, NotSupported

_TYPES = ("bind", "cache", "tmpfs", "secret")
_SIZE = re.compile(r"([0-9]+)([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_COMMON = frozenset({"type", "target"})
_ALLOWED = {
    "bind": _COMMON | {"source", "from", "read_write"},
    "cache": _COMMON | {"id", "read_write", "sharing", "from", "source", "mode", "uid", "gid"},
    "tmpfs": _COMMON | {"size"},
    "secret": _COMMON | {"id", "source", "required", "mode", "uid", "gid", "env"},
}
_ALIASES = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "ro": "readonly",
    "rw": "readwrite",
}


def parse_mount(text: str) -> RunMount:
    """InvalidArgument names the key that is wrong; NotSupported the type that Wherry lacks."""
    fields: dict[str, Any] = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        name = _ALIASES.get(key, key)
        _set(fields, name, value if equals else None, part)
    kind = fields.get("type", "bind")
    _check_type(kind)
    _check_keys(kind, fields, text)
    if "from" in fields:
        fields["from_"] = fields.pop("from")
    fields.setdefault("read_write", kind in ("cache", "tmpfs"))
    return _complete(RunMount(**fields), text)


def parse_size(text: str) -> int:
    """``64m`` in bytes; InvalidArgument."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise InvalidArgument(f"invalid size: {text!r} (want a number and k, m or g)")
    return int(match[1]) * _UNITS[match[2].lower()]


def _split(text: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InvalidArgument(f"failed to parse csv mounts: {error}") from None
    return rows[0] if rows else []


def _set(fields: dict[str, Any], name: str, value: str | None, part: str) -> None:
    if name in ("readonly", "readwrite"):
        given = parse_bool(name, "true" if value is None else value)
        fields["read_write"] = given == (name == "readwrite")
    elif name == "required":
        fields["required"] = parse_bool(name, "true" if value is None else value)
    elif value is None:
        raise InvalidArgument(f"invalid field '{part}' must be a key=value pair")
    elif name in ("type", "target", "source", "from", "id", "env"):
        fields[name] = value.lower() if name == "type" else value
    elif name == "sharing":
        if value not in ("shared", "private", "locked"):
            raise InvalidArgument(f"unsupported sharing value {value!r}")
        fields[name] = value
    elif name == "size":
        fields[name] = parse_size(value)
    elif name in ("uid", "gid", "mode"):
        fields[name] = _number(name, value, 8 if name == "mode" else 10)
    else:
        raise InvalidArgument(f"unexpected key '{name}' in '{part}'")


def _number(name: str, value: str, base: int) -> int:
    try:
        number = int(value, base)
    except ValueError:
        raise InvalidArgument(f"invalid value {value} for {name}") from None
    if not 0 <= number < (1 << 32):
        raise InvalidArgument(f"invalid value {value} for {name}")
    return number


def _check_type(kind: str) -> None:
    if kind == "ssh":
        raise NotSupported("RUN --mount=type=ssh is not supported: no agent can be forwarded yet")
    if kind not in _TYPES:
        raise InvalidArgument(f"unsupported mount type {kind!r}")


def _check_keys(kind: str, fields: dict[str, Any], text: str) -> None:
    for name in fields:
        if name not in _ALLOWED[kind]:
            raise InvalidArgument(f"unexpected key '{name}' for mount type '{kind}' in '{text}'")


def _complete(mount: RunMount, text: str) -> RunMount:
    if mount.type == "secret":
        if not (mount.id or mount.source or mount.target):
            raise InvalidArgument(f"secret mount '{text}' needs an id, a source or a target")
    elif not mount.target:
        raise InvalidArgument(f"mount '{text}' has no target")
    if "$" in mount.from_:
        raise InvalidArgument(
            f"'from' of mount '{text}' cannot hold variables: name a stage with FROM ... AS instead"
        )
    if mount.type == "cache" and (mount.from_ or mount.source):
        raise NotSupported("RUN --mount=type=cache cannot start from another tree (from, source)")
    return mount
