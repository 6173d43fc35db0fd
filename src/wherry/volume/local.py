"""Volumes as directories: ``DIRECTORY/NAME/_data`` holds the content of the volume NAME."""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    NotFound,
    NotSupported,
    ResourceExhausted,
)
from wherry.fs.copy import copy_attributes, copy_tree
from wherry.fs.remove import empty_directory, remove_tree
from wherry.fs.root import Root
from wherry.store.database import Database, Row
from wherry.sys.faults import reach
from wherry.volume.api import Volume

_SCHEMA = [
    """
    CREATE TABLE volume(
        name TEXT PRIMARY KEY,
        driver TEXT NOT NULL,
        options TEXT NOT NULL,
        labels TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        anonymous INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE volume_use(
        volume TEXT NOT NULL REFERENCES volume(name),
        container TEXT NOT NULL,
        PRIMARY KEY (volume, container)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX volume_use_container ON volume_use(container);
    """
]
_COLUMNS = "name, driver, options, labels, created_ns, anonymous"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,254}")
_DATA = "_data"
_NEW = "_new"
_REMOVED = ".removed-"
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalVolumes:
    """The Volumes of an engine in a directory of the host."""

    def __init__(self, directory: str, db: Database) -> None:
        """Makes the directory; removes what a crash left of volumes that are gone, or that were
        not there yet."""
        self._directory = os.path.abspath(directory)
        self._db = db
        self._lock = threading.Lock()
        os.makedirs(self._directory, 0o710, exist_ok=True)
        os.chmod(self._directory, 0o710)  # no other user reaches a setuid program in a volume
        db.migrate("volume", _SCHEMA)
        known = {row[0] for row in db.query("SELECT name FROM volume")}
        for name in os.listdir(self._directory):
            if name not in known:
                remove_tree(f"{self._directory}/{name}")

    def create(
        self,
        name: str | None = None,
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Volume:
        """See :class:`wherry.volume.api.Volumes`."""
        anonymous = not name
        name = name or secrets.token_hex(32)
        _check(name, driver, options or {})
        with self._lock:
            existing = self._find(name)
            if existing is not None:
                return existing
            self._make_directory(name)
            reach("volume.directory")
            self._db.execute(
                f"INSERT INTO volume({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
                name, driver, _encode(options), _encode(labels), time.time_ns(), anonymous,
            )  # fmt: skip
        reach("volume.recorded")
        return self.get(name)

    def _make_directory(self, name: str) -> None:
        remove_tree(f"{self._directory}/{name}")  # left by a crash before it was recorded
        with _sentences(f"cannot make the volume {name}"):
            os.mkdir(f"{self._directory}/{name}", 0o711)
            os.mkdir(self._data(name), 0o755)
            os.chmod(self._data(name), 0o755)

    def get(self, name: str) -> Volume:
        """See :class:`wherry.volume.api.Volumes`."""
        found = self._find(name)
        if found is None:
            raise NotFound(f"get {name}: no such volume")
        return found

    def _find(self, name: str) -> Volume | None:
        row = self._db.query_one(f"SELECT {_COLUMNS} FROM volume WHERE name = ?", name)
        return self._from(row) if row else None

    def list(self) -> tuple[Volume, ...]:
        """See :class:`wherry.volume.api.Volumes`."""
        rows = self._db.query(f"SELECT {_COLUMNS} FROM volume ORDER BY name")
        return tuple(self._from(row) for row in rows)

    def remove(self, name: str) -> None:
        """See :class:`wherry.volume.api.Volumes`."""
        with self._lock:
            with self._db.transaction() as db:
                self.get(name)
                if users := self.users(name):
                    raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
                db.execute("DELETE FROM volume WHERE name = ?", name)
            reach("volume.forgotten")
            doomed = f"{self._directory}/{_REMOVED}{secrets.token_hex(8)}"
            os.rename(f"{self._directory}/{name}", doomed)
        reach("volume.moved")
        with _sentences(f"cannot delete the content of the volume {name}"):
            remove_tree(doomed)

    def path(self, name: str) -> str:
        """See :class:`wherry.volume.api.Volumes`."""
        return self.get(name).path

    def populate(self, name: str, source_root_fd: int, path: str) -> bool:
        """See :class:`wherry.volume.api.Volumes`."""
        target = os.open(self.path(name), _OPEN_DIRECTORY)
        try:
            with self._lock, Root(os.dup(source_root_fd)) as root:
                if os.listdir(target):
                    return False
                try:
                    source = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
                except (FileNotFoundError, NotADirectoryError):
                    return False
                try:
                    self._copy(name, source, target)
                finally:
                    os.close(source)
        finally:
            os.close(target)
        return True

    def _copy(self, name: str, source: int, target: int) -> None:
        """Copy beside the volume first, so that a crash or a full disk leaves it empty."""
        base = f"{self._directory}/{name}"
        remove_tree(f"{base}/{_NEW}")
        os.mkdir(f"{base}/{_NEW}", 0o700)
        new = os.open(f"{base}/{_NEW}", _OPEN_DIRECTORY)
        try:
            with _sentences(f"cannot copy the image's content into the volume {name}"):
                copy_tree(source, new)
                reach("volume.copied")
                for child in os.listdir(new):
                    os.rename(child, child, src_dir_fd=new, dst_dir_fd=target)
                copy_attributes(source, target)
        finally:
            empty_directory(new)
            os.close(new)
            os.rmdir(f"{base}/{_NEW}")

    def use(self, name: str, container_id: str) -> None:
        """See :class:`wherry.volume.api.Volumes`."""
        with self._db.transaction() as db:
            self.get(name)
            db.execute(
                "INSERT INTO volume_use(volume, container) VALUES (?, ?) ON CONFLICT DO NOTHING",
                name, container_id,
            )  # fmt: skip

    def release(self, container_id: str) -> tuple[Volume, ...]:
        """See :class:`wherry.volume.api.Volumes`."""
        with self._db.transaction() as db:
            rows = db.query(
                f"SELECT {_COLUMNS} FROM volume JOIN volume_use ON volume = name "
                "WHERE container = ? ORDER BY name",
                container_id,
            )
            db.execute("DELETE FROM volume_use WHERE container = ?", container_id)
        return tuple(self._from(row) for row in rows)

    def users(self, name: str) -> tuple[str, ...]:
        """See :class:`wherry.volume.api.Volumes`."""
        self.get(name)
        rows = self._db.query(
            "SELECT container FROM volume_use WHERE volume = ? ORDER BY container", name
        )
        return tuple(container for (container,) in rows)

    def _from(self, row: Row) -> Volume:
        name, driver, options, labels, created_ns, anonymous = row
        return Volume(
            name=name,
            driver=driver,
            path=self._data(name),
            options=msgspec.json.decode(options, type=dict[str, str]),
            labels=msgspec.json.decode(labels, type=dict[str, str]),
            created_ns=created_ns,
            anonymous=bool(anonymous),
        )

    def _data(self, name: str) -> str:
        return f"{self._directory}/{name}/{_DATA}"


def _check(name: str, driver: str, options: dict[str, str]) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"create {name}: {name!r} includes invalid characters for a local volume name, only "
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    if driver != "local":
        raise NotSupported(f'create {name}: there is no volume driver {driver!r}, only "local"')
    if options:
        raise NotSupported(
            f"create {name}: the option {min(options)!r} of local volumes is not supported: mount "
            "it on the host, and pass it as a bind mount"
        )


def _encode(values: dict[str, str] | None) -> str:
    return msgspec.json.encode(values or {}).decode()


@contextmanager
def _sentences(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(f"{what}: no space left on device") from error
        raise InternalError(f"{what}: {error}") from error
