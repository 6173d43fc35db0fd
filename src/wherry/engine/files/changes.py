"""``docker diff``: what a container's writable layer changes against its image.

Overlayfs keeps the changes in a directory of their own: a character device 0/0 stands for a
deleted name, anything else was added or, if the image has the name as well, modified.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from wherry.fs.root import Root
from wherry.snapshot.api import Snapshotter

MODIFIED, ADDED, DELETED = 0, 1, 2


def list_changes(
    snapshots: Snapshotter, key: str, mountpoints: Iterable[str]
) -> tuple[tuple[int, str], ...]:
    """Kind and path of each change, sorted; mountpoints that a start made are left out where
    nothing else is in them. The container may go on changing the tree."""
    parent = snapshots.stat(key).parent
    base = None if parent is None else Root(snapshots.open_root(parent))
    try:
        with Root.at(snapshots.changes_dir(key)) as upper:
            nodes = [("/" + node.path, node.status) for node in upper.walk()]
        found = list(_compare(nodes, base, set(mountpoints)))
    finally:
        if base:
            base.close()
    return tuple(sorted(found, key=lambda change: change[1]))


def _compare(
    nodes: list[tuple[str, os.stat_result]], base: Root | None, ignored: set[str]
) -> Iterator[tuple[int, str]]:
    changed_in: set[str] = set()
    # What is in a directory comes before it.
    for path, status in sorted(nodes, key=lambda node: node[0].count("/"), reverse=True):
        inside = path in changed_in
        if path in ignored and not inside and _is_empty(status):
            continue
        kind = _kind(path, status, base, inside)
        if kind is not None:
            changed_in.add(path.rpartition("/")[0])
            yield kind, path


def _is_empty(status: os.stat_result) -> bool:
    """Of what a start may make: a directory, of which the content is looked at apart, or a file."""
    return stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and not status.st_size)


def _kind(path: str, status: os.stat_result, base: Root | None, inside: bool) -> int | None:
    """A directory is copied up when something below it changes; so Docker lists it too, but not
    when all below it were mountpoints."""
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return DELETED
    old = _old_status(base, path)
    if old is None:
        return ADDED
    if not stat.S_ISDIR(status.st_mode) or inside or _differs(old, status):
        return MODIFIED
    return None


def _old_status(base: Root | None, path: str) -> os.stat_result | None:
    """What the image has at a path."""
    if base is None:
        return None
    try:
        return base.stat(path, follow=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _differs(old: os.stat_result, new: os.stat_result) -> bool:
    return (old.st_mode, old.st_uid, old.st_gid) != (new.st_mode, new.st_uid, new.st_gid)
