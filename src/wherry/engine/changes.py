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
    """Kind and path of each change, sorted; empty mountpoints that a start made are left out."""
    parent = snapshots.stat(key).parent
    if parent is None:
        base = None
    else:
        base = Root(snapshots.open_root(parent))
    try:
        ignored = set(mountpoints)
        found = list(_walk(snapshots.changes_dir(key), "", base, ignored))
    finally:
        if base:
            base.close()
    return tuple(sorted(found, key=lambda change: change[1]))


def _walk(
    directory: str, prefix: str, base: Root | None, ignored: set[str]
) -> Iterator[tuple[int, str]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                yield DELETED, path
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if path in ignored and (is_directory or not status.st_size):
                continue
            below = list(_walk(entry.path, path, base, ignored)) if is_directory else []
            known = base is not None and base.lexists(path)
            # A directory is copied up when something below it changes; so Docker lists it too,
            # but not when all below it were mountpoints.
            if not known:
                yield ADDED, path
            elif not is_directory or below or _differs(base, path, status):
                yield MODIFIED, path
            yield from below


def _differs(base: Root | None, path: str, status: os.stat_result) -> bool:
    if base is None:
        return True
    old = base.lstat(path)
    return (old.st_mode, old.st_uid, old.st_gid) != (status.st_mode, status.st_uid, status.st_gid)

