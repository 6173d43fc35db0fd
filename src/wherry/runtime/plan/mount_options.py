"""Mount options as config.md (section "Linux mount options") lists them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from wherry.sys import mount as m
from wherry.sys.mount_options import PROPAGATION, SUPERBLOCK

_ATIME = m.MOUNT_ATTR__ATIME

# name: (bits to set, bits to clear) of mount_setattr(2)
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (m.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, m.MOUNT_ATTR_RDONLY),
    "nosuid": (m.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, m.MOUNT_ATTR_NOSUID),
    "nodev": (m.MOUNT_ATTR_NODEV, 0),
    "dev": (0, m.MOUNT_ATTR_NODEV),
    "noexec": (m.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, m.MOUNT_ATTR_NOEXEC),
    "nodiratime": (m.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, m.MOUNT_ATTR_NODIRATIME),
    "relatime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (0, 0),
    "noatime": (m.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "strictatime": (m.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (m.MOUNT_ATTR_RELATIME, _ATIME),
    "nosymfollow": (m.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, m.MOUNT_ATTR_NOSYMFOLLOW),
}

_TO_MOUNT_FLAGS = (
    (m.MOUNT_ATTR_RDONLY, m.MS_RDONLY),
    (m.MOUNT_ATTR_NOSUID, m.MS_NOSUID),
    (m.MOUNT_ATTR_NODEV, m.MS_NODEV),
    (m.MOUNT_ATTR_NOEXEC, m.MS_NOEXEC),
    (m.MOUNT_ATTR_NODIRATIME, m.MS_NODIRATIME),
    (m.MOUNT_ATTR_NOATIME, m.MS_NOATIME),
    (m.MOUNT_ATTR_STRICTATIME, m.MS_STRICTATIME),
    (m.MOUNT_ATTR_NOSYMFOLLOW, m.MS_NOSYMFOLLOW),
)

_WORDS = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap")
_RECURSIVE = tuple("r" + name for name in _ATTRIBUTES)

NAMES = tuple(sorted({*_ATTRIBUTES, *_RECURSIVE, *SUPERBLOCK, *PROPAGATION, *_WORDS}))
"""All options that are not left to the file system."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options, sorted by what they change.

    ``attr_*`` change the mount, ``all_*`` (``rro`` and the like) also those below it; ``flags``
    are mount(2)'s flags of the file system; ``propagation`` holds flags to apply afterwards;
    ``data`` is for the file system to understand.
    """

    bind: bool = False
    recursive: bool = False
    remount: bool = False
    attr_set: int = 0
    attr_clr: int = 0
    all_set: int = 0
    all_clr: int = 0
    flags: int = 0
    propagation: tuple[int, ...] = ()
    copy_up: bool = False
    idmap: bool = False
    idmap_recursive: bool = False
    data: str = ""

    @property
    def mount_flags(self) -> int:
        """``flags`` and ``attr_set`` together, for mount(2)."""
        bits = self.flags
        for attribute, flag in _TO_MOUNT_FLAGS:
            if self.attr_set & attribute:
                bits |= flag
        return bits


class _Bits:
    """Bits to set and to clear; the last word about a bit wins."""

    def __init__(self) -> None:
        self.set = 0
        self.clear = 0

    def apply(self, change: tuple[int, int]) -> None:
        on, off = change
        self.set = self.set & ~off | on
        # The kernel wants the whole access time field cleared when a part of it is set.
        self.clear = self.clear & ~(on & ~_ATIME) | off


def parse_options(options: Sequence[str]) -> Options:
    """Sort mount options. Whatever is not known is data for the file system."""
    return _parsed(tuple(options))


@lru_cache(maxsize=64)  # a plan asks several times for each of a few
def _parsed(options: tuple[str, ...]) -> Options:
    one, below, superblock = _Bits(), _Bits(), _Bits()
    propagation: list[int] = []
    words: set[str] = set()
    data: list[str] = []
    for option in options:
        if option in _ATTRIBUTES:
            one.apply(_ATTRIBUTES[option])
        elif option in SUPERBLOCK:
            superblock.apply(SUPERBLOCK[option])
        elif option in PROPAGATION:
            propagation.append(PROPAGATION[option])
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            below.apply(_ATTRIBUTES[option[1:]])
        elif option in _WORDS:
            words.add(option)
        elif option:
            data.append(option)
    return Options(
        bind=bool(words & {"bind", "rbind"}),
        recursive="rbind" in words,
        remount="remount" in words,
        attr_set=one.set,
        attr_clr=one.clear,
        all_set=below.set,
        all_clr=below.clear,
        flags=superblock.set,
        propagation=tuple(propagation),
        copy_up="tmpcopyup" in words,
        idmap=bool(words & {"idmap", "ridmap"}),
        idmap_recursive="ridmap" in words,
        data=",".join(data),
    )


def propagation_flags(name: str) -> int:
    """mount(2)'s flags for a propagation by name; KeyError."""
    return PROPAGATION[name]
