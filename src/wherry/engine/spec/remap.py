"""What a configuration says of users that are not the host's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from wherry.model.idmap import IdRange
from wherry.model.runtime_spec import IdMapping, Mount
from wherry.model.users import UserMap


def mappings(ranges: Iterable[IdRange]) -> tuple[IdMapping, ...]:
    return tuple(
        IdMapping(container_id=one.container, host_id=one.host, size=one.count) for one in ranges
    )


def with_users(mounts: Iterable[Mount], users: UserMap, own: str) -> Iterator[Mount]:
    """The mounts for a container with such users.

    What the engine itself keeps, below the directory ``own`` (volumes, name files), has on disk the
    ids that it has in containers, as images have, and is mapped to the host's. A directory of the
    host's is shown as it is, unless the user has a map of his own for it.
    """
    uids, gids = mappings(users.uids), mappings(users.gids)
    for mount in mounts:
        if mount.uid_mappings or mount.gid_mappings:
            yield _mapped(
                mount,
                compose(mount.uid_mappings, users.uids),
                compose(mount.gid_mappings, users.gids),
            )
        elif mount.type == "overlay" or (mount.type == "bind" and mount.source.startswith(own)):
            yield _mapped(mount, uids, gids)
        else:
            yield mount


def _mapped(mount: Mount, uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]) -> Mount:
    options = mount.options if "idmap" in mount.options else (*mount.options, "idmap")
    return msgspec.structs.replace(mount, options=options, uid_mappings=uids, gid_mappings=gids)


def compose(first: Sequence[IdMapping], then: Sequence[IdRange]) -> tuple[IdMapping, ...]:
    """From ids on disk by those in the container to the host's; what has none is left out."""
    found = []
    for one in first:
        for other in then:
            start = max(one.host_id, other.container)
            end = min(one.host_id + one.size, other.container + other.count)
            if start < end:
                disk = one.container_id + start - one.host_id
                host = other.host + start - other.container
                found.append(IdMapping(container_id=disk, host_id=host, size=end - start))
    return tuple(found)
