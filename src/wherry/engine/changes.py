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
    base = None if parent is None else Root(snapshots.open_root(parent))
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
            old = _old_status(base, path)
            # A directory is copied up when something below it changes; so Docker lists it too,
            # but not when all below it were mountpoints.
            if old is None:
                yield ADDED, path
            elif not is_directory or below or _differs(old, status):
                yield MODIFIED, path
            yield from below


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
