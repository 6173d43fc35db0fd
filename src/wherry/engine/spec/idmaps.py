"""Whose files those of a source appear as: the mappings of an id-mapped mount."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.engine.spec.users import ResolvedUser
from wherry.errors import InvalidArgument
from wherry.model.idmap import IdRange, complete, parse_id_map, swap
from wherry.model.runtime_spec import IdMapping

Mappings = tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]
"""Of users, and of groups."""


def id_mappings(text: str, source: str, user: ResolvedUser) -> Mappings:
    """What ``IDMap`` of a mount means for a source on the host and the container's user.

    ``match-user`` exchanges two owners: the source's is seen as the container's user, and that
    user's files, if there are any, as the source's owner's. Explicit ranges leave ids alone that
    are on neither side of one.
    """
    asked = parse_id_map(text)
    if not asked.match_user:
        return _mappings(complete(asked.uids)), _mappings(complete(asked.gids))
    try:
        owner = os.stat(source)
    except OSError as error:
        raise InvalidArgument(f"bind source path does not exist: {source}") from error
    return _mappings(swap(user.uid, owner.st_uid)), _mappings(swap(user.gid, owner.st_gid))


def _mappings(ranges: Iterable[IdRange]) -> tuple[IdMapping, ...]:
    """mount_setattr(2), "ID-mapped mounts": the ids on disk are the namespace's own, those that
    appear are the ones it maps to."""
    return tuple(
        IdMapping(container_id=one.host, host_id=one.container, size=one.count) for one in ranges
    )
