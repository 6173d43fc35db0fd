"""The options of the driver ``local``: ``type``, ``device`` and ``o``, as Docker's has them.

They say what mount(8) would be told: a file system's type, what is mounted, and its options. Beside
the kernel's options ``o`` may hold ``idmap=...`` with a bind, see :mod:`wherry.model.idmap`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.idmap import parse_id_map
from wherry.sys import mount as m
from wherry.sys.mount_options import PROPAGATION, SUPERBLOCK

_KNOWN = frozenset({"type", "device", "o", "size"})
_LIMIT = 4000
"""Bytes of ``o``: mount(2) takes a page."""

_FLAGS: dict[str, tuple[int, int]] = {
    **SUPERBLOCK,
    "ro": (m.MS_RDONLY, 0),
    "rw": (0, m.MS_RDONLY),
    "nosuid": (m.MS_NOSUID, 0),
    "suid": (0, m.MS_NOSUID),
    "nodev": (m.MS_NODEV, 0),
    "dev": (0, m.MS_NODEV),
    "noexec": (m.MS_NOEXEC, 0),
    "exec": (0, m.MS_NOEXEC),
    "noatime": (m.MS_NOATIME, 0),
    "atime": (0, m.MS_NOATIME),
    "nodiratime": (m.MS_NODIRATIME, 0),
    "diratime": (0, m.MS_NODIRATIME),
    "relatime": (m.MS_RELATIME, 0),
    "norelatime": (0, m.MS_RELATIME),
    "strictatime": (m.MS_STRICTATIME, 0),
    "nostrictatime": (0, m.MS_STRICTATIME),
}
"""mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS": bits to set and to clear."""


class LocalOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a volume's content is: a directory of the engine's own (``plain``), a directory of the
    host's (``bind``), or a file system that is mounted for its users (``filesystem``)."""

    kind: Literal["plain", "bind", "filesystem"] = "plain"
    fstype: str = ""
    device: str = ""
    flags: int = 0
    data: str = ""
    recursive: bool = True
    id_map: str = ""

    @property
    def read_only(self) -> bool:
        return bool(self.flags & m.MS_RDONLY)


def parse_local_options(options: dict[str, str]) -> LocalOptions:
    """InvalidArgument or NotSupported, each in one sentence that names the option."""
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise InvalidArgument(f'invalid option: "{unknown[0]}"')
    if "size" in options:
        raise NotSupported(
            'the option "size" of local volumes needs project quotas, which are not supported: '
            "limit a tmpfs with o=size=..., or mount a file system of that size"
        )
    if not any(options.values()):
        return LocalOptions()
    _check_complete(options)
    words = [word.strip() for word in options.get("o", "").split(",") if word.strip()]
    if {"bind", "rbind"} & set(words):
        return _bind(options, words)
    return _filesystem(options, words)


def _check_complete(options: dict[str, str]) -> None:
    for name in ("device", "type"):
        if not options.get(name):
            raise InvalidArgument(f'missing required option: "{name}"')
    for name, value in options.items():
        if "\0" in value or len(value.encode(errors="surrogateescape")) > _LIMIT:
            raise InvalidArgument(f"the option {name!r} is too long or holds a zero byte")


def _bind(options: dict[str, str], words: list[str]) -> LocalOptions:
    device = options["device"]
    if not device.startswith("/"):
        raise InvalidArgument(f"the device of a bind must be an absolute path, not {device!r}")
    flags, id_map = 0, ""
    for word in words:
        name, equals, value = word.partition("=")
        if name == "idmap" and equals:
            parse_id_map(value)
            id_map = value
        elif word in _FLAGS:
            flags = _apply(flags, word)
        elif word not in ("bind", "rbind") and word not in PROPAGATION:
            raise InvalidArgument(f"a bind has no option {word!r}")
    return LocalOptions(
        kind="bind", device=device, flags=flags, recursive="rbind" in words, id_map=id_map
    )


def _filesystem(options: dict[str, str], words: list[str]) -> LocalOptions:
    flags = 0
    data: list[str] = []
    for word in words:
        if word in _FLAGS:
            flags = _apply(flags, word)
        elif word.startswith("idmap="):
            raise InvalidArgument("the option 'idmap' needs a bind: type=none, o=bind,idmap=...")
        elif word not in PROPAGATION:
            data.append(word)
    return LocalOptions(
        kind="filesystem",
        fstype=options["type"],
        device=options["device"],
        flags=flags,
        data=",".join(data),
    )


def _apply(flags: int, word: str) -> int:
    on, off = _FLAGS[word]
    return flags & ~off | on
