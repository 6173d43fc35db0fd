"""The mappings of a user namespace that a container joins by its path.

A configuration need not repeat them, but an ``idmap`` mount without mappings of its own has those
of the container (config.md, section "Linux mount options"), whoever made its namespace; and they
decide whose the streams of a process are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import IdMapping, Linux
from wherry.sys.users import Maps, Range, maps_in, maps_of

Mappings = tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]


def with_mappings(linux: Linux, found: Mappings) -> Linux:
    """The configuration with the mappings that were ``found``.

    InvalidArgument, in runc's words, if it says others: what it wants cannot be.
    """
    given = linux.uid_mappings, linux.gid_mappings
    if any(given) and (_in_order(given[0]), _in_order(given[1])) != found:
        raise InvalidArgument(
            "user namespaces enabled, but both namespace path and non-matching mapping specified "
            "-- you may only provide one"
        )
    return msgspec.structs.replace(linux, uid_mappings=found[0], gid_mappings=found[1])


def mappings_at(path: str) -> Mappings:
    """Those of the namespace whose file in /proc is ``path``.

    InvalidArgument if it is none that a container can be in.
    """
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidArgument(f"cannot open the user namespace {path}: {error.strerror}") from None
    try:
        found = _mappings(maps_in(namespace))
    except OSError as error:
        raise InvalidArgument(f"cannot enter the user namespace {path}: {error.strerror}") from None
    finally:
        os.close(namespace)
    if not all(found):
        raise InvalidArgument(f"the user namespace {path} has no mappings yet")
    return found


def mappings_of(pid: int) -> Mappings:
    """Those of a process's user namespace, as they are seen from that of this process."""
    return _mappings(maps_of(f"/proc/{pid}"))


def _mappings(maps: Maps) -> Mappings:
    uids, gids = maps
    return _in_order(map(_mapping, uids)), _in_order(map(_mapping, gids))


def _mapping(one: Range) -> IdMapping:
    return IdMapping(container_id=one[0], host_id=one[1], size=one[2])


def _in_order(mappings: Iterable[IdMapping]) -> tuple[IdMapping, ...]:
    """The kernel sorts them when they are many."""
    return tuple(sorted(mappings, key=lambda one: one.container_id))
