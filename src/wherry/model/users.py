"""Whose the ids of a container are on the host, if they are not the same ones."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.idmap import IdRange

NOBODY = 65534
"""Who owns what has an owner that is not mapped (user_namespaces(7))."""


class UserMap(msgspec.Struct, frozen=True, kw_only=True):
    """Ranges of ids in the container and on the host; both hold 0, the container's root."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of the container's root."""
        return self.on_host(0, 0)

    def on_host(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids of an owner in the container; InvalidArgument if it has none."""
        found = to_host(self.uids, uid), to_host(self.gids, gid)
        if found[0] is None or found[1] is None:
            raise InvalidArgument(f"the container has no user or group {uid}:{gid}")
        return found[0], found[1]

    def in_container(self, uid: int, gid: int) -> tuple[int, int]:
        """An owner on the host as the container sees it."""
        return to_container(self.uids, uid), to_container(self.gids, gid)


def to_host(ranges: Sequence[IdRange], number: int) -> int | None:
    """The host's id of one in the container; None if it has none."""
    for one in ranges:
        if one.container <= number < one.container + one.count:
            return one.host + number - one.container
    return None


def to_container(ranges: Sequence[IdRange], number: int) -> int:
    """The container's id of one on the host."""
    for one in ranges:
        if one.host <= number < one.host + one.count:
            return one.container + number - one.host
    return NOBODY
