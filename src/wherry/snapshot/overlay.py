"""Snapshots as directories that overlayfs puts on top of each other.

``DIRECTORY/N/fs`` holds the changes of snapshot number N and ``DIRECTORY/N/work`` is what
overlayfs needs beside them; ``DIRECTORY/0/fs`` stays empty. Which snapshot is which, and on top of
which, is in the database (docs/formats/snapshots.md). Numbers keep the names short: before Linux
6.5 those of all layers have to fit into one page.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Literal, NamedTuple

from wherry.errors import Conflict, InternalError, NotFound, ResourceExhausted, WherryError
from wherry.fs import attributes
from wherry.fs.walk import walk
from wherry.snapshot.api import OverlayMount, SnapshotInfo, Usage
from wherry.snapshot.mounting import mount_detached
from wherry.snapshot.trash import Trash
from wherry.store.database import Database
from wherry.sys.faults import reach

_SCHEMA = [
    """
    CREATE TABLE snapshot(
        key TEXT PRIMARY KEY,
        number INTEGER NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('active', 'committed')),
        parent TEXT REFERENCES snapshot(key),
        created_ns INTEGER NOT NULL,
        size INTEGER,
        inodes INTEGER
    ) STRICT;
    CREATE INDEX snapshot_parent ON snapshot(parent);
    """
]
_EMPTY = 0
_TRASH = "trash"


class _Row(NamedTuple):
    number: int
    kind: Literal["active", "committed"]
    parent: str | None
    created_ns: int


class OverlaySnapshotter:
    """The Snapshotter on overlayfs. Safe to call from several threads."""

    def __init__(
        self,
        directory: str,
        db: Database,
        on_error: Callable[[str, OSError], None] | None = None,
    ) -> None:
        """Makes the directory, and cleans up after a crash: directories that no snapshot has are
        deleted. ``on_error`` hears of files that could not be."""
        self._directory = os.path.abspath(directory)
        self._db = db
        self._lock = threading.Lock()
        self._lowers: dict[str, tuple[int, ...]] = {}
        db.migrate("snapshot", _SCHEMA)
        os.makedirs(self._directory, 0o711, exist_ok=True)
        os.makedirs(f"{self._directory}/{_EMPTY}/fs", 0o755, exist_ok=True)
        self._trash = Trash(f"{self._directory}/{_TRASH}", on_error)
        self._numbers = count(self._clean_up() + 1)

    def _clean_up(self) -> int:
        """Throw away what no row has; the highest number in use."""
        known = {row[0] for row in self._db.query("SELECT number FROM snapshot")}
        for name in os.listdir(self._directory):
            if name not in (_TRASH, str(_EMPTY)) and not (name.isdigit() and int(name) in known):
                self._trash.throw(f"{self._directory}/{name}")
        return max(known, default=0)

    def prepare(self, key: str, parent: str | None) -> OverlayMount:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        lowers = self._chain(parent)
        number = next(self._numbers)
        try:
            self._make_directories(number, lowers[0])
            reach("snapshot.directories")
            self._insert(key, number, parent)
        except BaseException as error:
            self._trash.throw(self._path(number))
            raise self._sentence(f"cannot make snapshot {key}", error) from error
        return self._mount(number, lowers)

    def _make_directories(self, number: int, below: int) -> None:
        path = self._path(number)
        os.mkdir(path, 0o700)
        os.mkdir(f"{path}/work", 0o700)
        os.mkdir(f"{path}/fs", 0o755)
        like = os.stat(self._changes(below))
        os.chown(f"{path}/fs", like.st_uid, like.st_gid)
        os.chmod(f"{path}/fs", stat.S_IMODE(like.st_mode))
        if xattrs := attributes.carried_xattrs(self._changes(below)):
            attributes.set_xattrs(f"{path}/fs", xattrs)

    def _insert(self, key: str, number: int, parent: str | None) -> None:
        """The parent is looked at again, for it may have been removed meanwhile."""
        with self._db.transaction() as db:
            if parent is not None:
                self._require_committed(parent)
            try:
                db.execute(
                    "INSERT INTO snapshot(key, number, kind, parent, created_ns) "
                    "VALUES (?, ?, 'active', ?, ?)",
                    key, number, parent, time.time_ns(),
                )  # fmt: skip
            except sqlite3.IntegrityError:
                raise Conflict(f"the snapshot {key} exists already") from None

    def mounts(self, key: str) -> OverlayMount:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        row = self._row(key)
        if row.kind == "active":
            return self._mount(row.number, self._chain(row.parent))
        lowers = self._chain(key)
        # overlayfs wants two of them if there is nothing to write to.
        padded = lowers if len(lowers) > 1 else (*lowers, _EMPTY)
        return OverlayMount(lower=tuple(self._changes(number) for number in padded))

    def open_root(self, key: str) -> int:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        try:
            return mount_detached(self.mounts(key))
        except OSError as error:
            raise InternalError(f"cannot mount snapshot {key}: {error}") from error

    def changes_dir(self, key: str) -> str:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        return self._changes(self._row(key).number)

    def commit(self, key: str, name: str) -> None:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        with self._db.transaction() as db:
            row = self._row(key)
            if row.kind != "active":
                raise Conflict(f"the snapshot {key} is committed already")
            if db.query("SELECT 1 FROM snapshot WHERE key = ? AND kind = 'committed'", name):
                self._delete(key)
                doomed = self._path(row.number)
            else:
                self._rename(key, name)
                doomed = f"{self._path(row.number)}/work"
        reach("snapshot.committed")
        self._trash.throw(doomed)

    def _rename(self, key: str, name: str) -> None:
        try:
            self._db.execute(
                "UPDATE snapshot SET key = ?, kind = 'committed' WHERE key = ?", name, key
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"the name {name} belongs to an active snapshot") from None

    def remove(self, key: str) -> None:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        with self._db.transaction():
            row = self._row(key)
            self._delete(key)
        reach("snapshot.forgotten")
        self._trash.throw(self._path(row.number))

    def _delete(self, key: str) -> None:
        try:
            self._db.execute("DELETE FROM snapshot WHERE key = ?", key)
        except sqlite3.IntegrityError:
            raise Conflict(f"the snapshot {key} is in use by another one on top of it") from None
        with self._lock:
            self._lowers.pop(key, None)

    def stat(self, key: str) -> SnapshotInfo:
        """See :class:`wherry.snapshot.api.Snapshotter`."""
        row = self._row(key)
        return SnapshotInfo(key=key, kind=row.kind, parent=row.parent, created_ns=row.created_ns)

    def usage(self, key: str) -> Usage:
        """See :class:`wherry.snapshot.api.Snapshotter`. That of a committed one is remembered."""
        row = self._row(key)
        known = self._db.query_one("SELECT size, inodes FROM snapshot WHERE key = ?", key)
        if row.kind == "committed" and known is not None and known[0] is not None:
            return Usage(size=known[0], inodes=known[1])
        usage = _usage_of(self._changes(row.number))
        if row.kind == "committed":
            self._db.execute(
                "UPDATE snapshot SET size = ?, inodes = ? WHERE key = ?",
                usage.size, usage.inodes, key,
            )  # fmt: skip
        return usage

    def list(self) -> Iterator[SnapshotInfo]:
        """See :class:`wherry.snapshot.api.Snapshotter`; the oldest first."""
        rows = self._db.query(
            "SELECT key, kind, parent, created_ns FROM snapshot ORDER BY created_ns, number"
        )
        for key, kind, parent, created in rows:
            yield SnapshotInfo(key=key, kind=kind, parent=parent, created_ns=created)

    def drain(self) -> None:
        """Wait until the files of all removed snapshots are deleted."""
        self._trash.drain()

    def close(self) -> None:
        """Finish the deletions. Idempotent."""
        self._trash.close()

    def _row(self, key: str) -> _Row:
        found = self._db.query_one(
            "SELECT number, kind, parent, created_ns FROM snapshot WHERE key = ?", key
        )
        if found is None:
            raise NotFound(f"there is no snapshot {key}")
        return _Row(*found)

    def _require_committed(self, key: str) -> _Row:
        row = self._row(key)
        if row.kind != "committed":
            raise NotFound(f"the snapshot {key} is not committed, so nothing can be on top of it")
        return row

    def _chain(self, key: str | None) -> tuple[int, ...]:
        """The numbers of a committed snapshot and those below it, topmost first."""
        if key is None:
            return (_EMPTY,)
        known = self._lowers.get(key)
        if known is not None:
            return known
        row = self._require_committed(key)
        numbers = (row.number, *(self._chain(row.parent) if row.parent else ()))
        with self._lock:
            self._lowers[key] = numbers
        return numbers

    def _path(self, number: int) -> str:
        return f"{self._directory}/{number}"

    def _changes(self, number: int) -> str:
        return f"{self._directory}/{number}/fs"

    def _mount(self, number: int, lowers: tuple[int, ...]) -> OverlayMount:
        return OverlayMount(
            lower=tuple(self._changes(lower) for lower in lowers),
            upper=self._changes(number),
            work=f"{self._path(number)}/work",
        )

    def _sentence(self, what: str, error: BaseException) -> BaseException:
        if isinstance(error, OSError) and not isinstance(error, WherryError):
            if error.errno in (28, 122):
                return ResourceExhausted(f"{what}: no space left on device")
            return InternalError(f"{what}: {error}")
        return error


def _usage_of(directory: str) -> Usage:
    size = inodes = 0
    seen: set[int] = set()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for node in walk(fd):
            status = node.status
            if status.st_nlink > 1 and not node.is_directory:
                if status.st_ino in seen:
                    continue
                seen.add(status.st_ino)
            size += status.st_blocks * 512
            inodes += 1
    finally:
        with suppress(OSError):
            os.close(fd)
    return Usage(size=size, inodes=inodes)
