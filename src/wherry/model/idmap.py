"""Maps of owners: as whom files on disk appear in a container, for id-mapped mounts.

As text a map is ``match-user``, or ``uids=CONTAINER-HOST-COUNT;gids=CONTAINER-HOST-COUNT``, each
with further ranges after ``#``: files that belong to HOST on disk appear as CONTAINER's. Without
``gids`` the ranges of ``uids`` hold for both. Ids in no range appear as themselves, as long as no
range takes their place.
"""

from __future__ import annotations

import re
from itertools import pairwise

import msgspec

from wherry.errors import InvalidArgument

MATCH_USER = "match-user"

_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,10})")
_IDS = 2**32 - 1
"""How many ids there are: the last number means none (user_namespaces(7))."""
_MOST = 100
"""Ranges in one map; the kernel takes 340 after gaps are filled."""


class IdRange(msgspec.Struct, frozen=True):
    """``count`` ids on disk from ``host`` on appear in the container from ``container`` on."""

    container: int
    host: int
    count: int


class IdMap(msgspec.Struct, frozen=True, kw_only=True):
    """``match_user``: the ranges depend on the container's user and the source's owner."""

    match_user: bool = False
    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()


def parse_id_map(text: str) -> IdMap:
    """InvalidArgument says what a map looks like."""
    if text == MATCH_USER:
        return IdMap(match_user=True)
    parts: dict[str, tuple[IdRange, ...]] = {}
    for part in text.split(";"):
        name, _, ranges = part.partition("=")
        if name not in ("uids", "gids") or name in parts:
            raise _wrong(text)
        parts[name] = tuple(_range(one, text) for one in ranges.split("#"))
    if "uids" not in parts:
        raise _wrong(text)
    found = IdMap(uids=parts["uids"], gids=parts.get("gids", parts["uids"]))
    for ranges_of in (found.uids, found.gids):
        _check(ranges_of, text)
    return found


def _range(text: str, whole: str) -> IdRange:
    match = _RANGE.fullmatch(text)
    if not match:
        raise _wrong(whole)
    one = IdRange(*map(int, match.groups()))
    if not one.count or max(one.container, one.host) + one.count > _IDS:
        raise InvalidArgument(f"invalid id map {whole!r}: {text} is out of range")
    return one


def _check(ranges: tuple[IdRange, ...], text: str) -> None:
    if len(ranges) > _MOST:
        raise InvalidArgument(f"invalid id map: it has more than {_MOST} ranges")
    for side in ("container", "host"):
        ordered = sorted(ranges, key=lambda one: getattr(one, side))
        for one, following in pairwise(ordered):
            if getattr(one, side) + one.count > getattr(following, side):
                raise InvalidArgument(f"invalid id map {text!r}: ranges overlap")


def _wrong(text: str) -> InvalidArgument:
    return InvalidArgument(
        f"invalid id map {text!r}: give {MATCH_USER}, or "
        "uids=CONTAINER-HOST-COUNT;gids=CONTAINER-HOST-COUNT with further ranges after #"
    )


def swap(container: int, host: int) -> tuple[IdRange, ...]:
    """One id on disk appears as another, and that one as it; all others as themselves."""
    if container == host:
        return (IdRange(0, 0, _IDS),)
    return complete((IdRange(container, host, 1), IdRange(host, container, 1)))


def complete(ranges: tuple[IdRange, ...]) -> tuple[IdRange, ...]:
    """The ranges, and those ids as themselves that appear on neither side of them."""
    taken = sorted(
        (start, start + one.count) for one in ranges for start in (one.container, one.host)
    )
    free, at = [], 0
    for start, end in [*taken, (_IDS, _IDS)]:
        if start > at:
            free.append(IdRange(at, at, start - at))
        at = max(at, end)
    return (*ranges, *free)
