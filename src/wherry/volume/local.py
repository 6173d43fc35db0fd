"""Volumes as directories: ``DIRECTORY/NAME/_data`` holds the content of the volume NAME."""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from wherry.fs.usage import disk_usage
from wherry.store.database import Database, Row
from wherry.sys.faults import reach
from wherry.volume.api import Volume, VolumeSource
from wherry.volume.mounted import MountedVolumes, unmount
from wherry.volume.options import LocalOptions, parse_local_options

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
_NEW = ".wherry-new"
"""Where an image's content is copied to first."""
_REMOVED = ".removed-"
_LOST = "lost+found"
"""What a new file system has before anybody has used it."""
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalVolumes:
    """The Volumes of an engine in a directory of the host."""

    def __init__(self, directory: str, db: Database) -> None:
        """Makes the directory; removes what a crash left of volumes that are gone, or that were
        not there yet. One that has content and is not recorded (the database was lost) is never
        removed, but recorded again."""
        self._directory = os.path.abspath(directory)
        self._db = db
        self._lock = threading.Lock()
        self._filling: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._mounted = MountedVolumes()
        self.tell: Callable[[str, str], None] = lambda action, name: None
        """Called after a volume was made ("create") or removed ("destroy")."""
        os.makedirs(self._directory, 0o710, exist_ok=True)
        os.chmod(self._directory, 0o710)  # no other user reaches a setuid program in a volume
        db.migrate("volume", _SCHEMA)
        known = {row[0] for row in db.query("SELECT name FROM volume")}
        found = set(os.listdir(self._directory))
        for name in found - known:
            if self._has_content(name):
                self._record(name, os.stat(self._data(name)).st_mtime_ns, len(name) == 64)
            else:
                self._drop(name)
        for name in known - found:
            self._replace_lost(name)

    def _has_content(self, name: str) -> bool:
        try:
            return bool(_NAME.fullmatch(name) and os.listdir(self._data(name)))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _replace_lost(self, name: str) -> None:
        """A removal was interrupted, unless somebody uses the volume."""
        if self.users(name):
            self._make_directory(name)
        else:
            self._db.execute("DELETE FROM volume WHERE name = ?", name)

    def _drop(self, directory: str) -> None:
        """Remove a volume's directory, and never what is mounted there."""
        unmount(f"{self._directory}/{directory}/{_DATA}")
        remove_tree(f"{self._directory}/{directory}")

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
            try:
                self._make_directory(name)
                reach("volume.directory")
                self._record(name, time.time_ns(), anonymous, options, labels)
            except BaseException:
                self._drop(name)
                raise
        reach("volume.recorded")
        self.tell("create", name)
        return self.get(name)

    def _record(
        self,
        name: str,
        created_ns: int,
        anonymous: bool,
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        self._db.execute(
            f"INSERT INTO volume({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            name, "local", _encode(options), _encode(labels), created_ns, anonymous,
        )  # fmt: skip

    def _make_directory(self, name: str) -> None:
        self._drop(name)  # left by a crash before it was recorded
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
        with self._lock, self._db.transaction() as db:
            self.get(name)
            if users := self.users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
            doomed = f"{_REMOVED}{secrets.token_hex(8)}"
            # First: a directory that is not recorded would be taken for a volume.
            os.rename(f"{self._directory}/{name}", f"{self._directory}/{doomed}")
            reach("volume.forgotten")
            db.execute("DELETE FROM volume WHERE name = ?", name)
        reach("volume.moved")
        with _sentences(f"cannot delete the content of the volume {name}"):
            self._drop(doomed)
        self.tell("destroy", name)

    def path(self, name: str) -> str:
        """See :class:`wherry.volume.api.Volumes`."""
        return self.get(name).path

    def attach(self, name: str, user: str) -> VolumeSource:
        """See :class:`wherry.volume.api.Volumes`."""
        volume = self.get(name)
        options = parse_local_options(volume.options)
        if options.kind == "bind":
            return _bind_source(name, options)
        if options.kind == "filesystem":
            self._mounted.attach(volume.path, options, user)
        return VolumeSource(path=volume.path)

    def detach(self, user: str) -> None:
        """See :class:`wherry.volume.api.Volumes`."""
        self._mounted.detach(user)

    def reconcile(self, users: Mapping[str, Iterable[str]]) -> None:
        """See :class:`wherry.volume.api.Volumes`."""
        mounted = [v for v in self.list() if v.options and os.path.ismount(v.path)]
        self._mounted.take_up({v.path: users.get(v.name, ()) for v in mounted})

    @contextmanager
    def content(self, name: str) -> Iterator[int]:
        """See :class:`wherry.volume.api.Volumes`."""
        user = f"content-{secrets.token_hex(8)}"
        source = self.attach(name, user)
        try:
            fd = os.open(source.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield fd
            finally:
                os.close(fd)
        finally:
            self.detach(user)

    def usage(self, name: str) -> int:
        """See :class:`wherry.volume.api.Volumes`."""
        volume = self.get(name)
        options = parse_local_options(volume.options)
        if options.kind == "bind" or (
            options.kind == "filesystem" and not os.path.ismount(volume.path)
        ):
            return -1
        return disk_usage(volume.path)

    def populate(self, name: str, source_root_fd: int, path: str) -> bool:
        """See :class:`wherry.volume.api.Volumes`."""
        options = parse_local_options(self.get(name).options)
        if options.fstype == "tmpfs" or options.read_only:
            return False
        with Root(os.dup(source_root_fd)) as root:
            try:
                source = root.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except (FileNotFoundError, NotADirectoryError):
                return False
            try:
                self.fill(name, lambda target: copy_tree(source, target))
            except Conflict:  # it has content
                return False
            finally:
                os.close(source)
        return True

    def fill(self, name: str, write: Callable[[int], None]) -> None:
        """See :class:`wherry.volume.api.Volumes`."""
        plain = not self.get(name).options
        with self._lock:
            lock = self._filling[name]
        with lock, self.content(name) as target:
            # Beside it no container can be in the way; but only inside it is certainly its own
            # file system.
            beside = f"{self._directory}/{name}"
            place = os.open(beside, _OPEN_DIRECTORY) if plain else os.dup(target)
            try:
                remove_tree(_NEW, dir_fd=place)
                if set(os.listdir(target)) - {_LOST}:
                    raise Conflict(f"the volume {name} is not empty")
                with _sentences(f"cannot copy content into the volume {name}"):
                    _write_by_way_of(place, target, write)
            finally:
                os.close(place)

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
        raise NotFound(
            f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found'
        )
    try:
        parse_local_options(options)
    except (InvalidArgument, NotSupported) as error:
        raise type(error)(f"create {name}: {error}") from None


def _bind_source(name: str, options: LocalOptions) -> VolumeSource:
    if not os.path.isdir(options.device):
        raise InvalidArgument(
            f"failed to mount local volume {name}: {options.device}: no such directory"
        )
    return VolumeSource(
        path=options.device,
        recursive=options.recursive,
        read_only=options.read_only,
        id_map=options.id_map,
    )


def _write_by_way_of(place: int, target: int, write: Callable[[int], None]) -> None:
    """Write to another directory first, so that a crash or a full disk leaves the target empty."""
    os.mkdir(_NEW, 0o755, dir_fd=place)
    new = os.open(_NEW, _OPEN_DIRECTORY, dir_fd=place)
    try:
        os.fchmod(new, 0o755)
        write(new)
        reach("volume.copied")
        copied = os.stat(new)
        for child in os.listdir(new):
            os.rename(child, child, src_dir_fd=new, dst_dir_fd=target)
        copy_attributes(new, target)
        os.utime(target, ns=(copied.st_atime_ns, copied.st_mtime_ns))
    finally:
        empty_directory(new)
        os.close(new)
        os.rmdir(_NEW, dir_fd=place)


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
