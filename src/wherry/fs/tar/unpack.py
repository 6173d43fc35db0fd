"""Unpack an archive into a tree, and unpack a layer for overlayfs.

The archive is not trusted, and neither is the tree: see :mod:`wherry.fs.tar.parents` for how names
are found. What is made is made new (O_EXCL), and whatever was there before is unlinked first, so
that nothing is ever written through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import NoReturn

import msgspec

from wherry.errors import (
    Conflict,
    InternalError,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    WherryError,
)
from wherry.fs import attributes
from wherry.fs.atomic import write_all
from wherry.fs.remove import remove_tree
from wherry.fs.tar.entry import DEFAULT_LIMITS, BadArchive, Entry, Kind, Limits
from wherry.fs.tar.parents import Directory, Parents, clean
from wherry.fs.tar.reader import Readable, TarReader
from wherry.fs.walk import walk
from wherry.model.users import UserMap
from wherry.sys import files

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_ARCHIVE_AT_FAULT = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT, errno.ENOTDIR})

Owner = tuple[int, int]


def extract(
    stream: Readable,
    root: int,
    *,
    prefix: str = "",
    owner: Owner | None = None,
    keep_types: bool = False,
    keep_mounts: bool = False,
    users: UserMap | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Unpack an archive below an open directory; names starting with ``.wh.`` mean nothing.

    ``prefix`` is the directory of that tree which the archive's names start from; links are
    followed inside the whole tree. ``owner`` replaces all owners in it. ``keep_types`` refuses
    (InvalidArgument) to put a directory in the place of something else or the reverse. A directory
    over a directory takes its attributes. ``keep_mounts`` refuses (Conflict) to replace what a
    mount is on: the kernel does so only in the mount's own namespace, and takes it away elsewhere.
    ``users``: owners are those of a container with these.

    BadArchive, PermissionDenied on what is read-only, ResourceExhausted for a full disk,
    InternalError; what was unpacked before an error stays.
    """
    with Unpacker(
        root, None, owner=owner, keep_types=keep_types, keep_mounts=keep_mounts, users=users
    ) as unpacker:

        def add_below(entry: Entry, reader: TarReader) -> None:
            unpacker.add(_below(prefix, entry), reader)

        unpacker.run(TarReader(stream, limits), add_below if prefix.strip("/") else unpacker.add)


def _below(prefix: str, entry: Entry) -> Entry:
    """An entry with its names below a directory; none may climb out of it."""
    hard = entry.kind is Kind.HARDLINK
    return msgspec.structs.replace(
        entry,
        name=f"{prefix}/{clean(entry.name)}",
        target=f"{prefix}/{clean(entry.target)}" if hard else entry.target,
    )


class Unpacker:
    """Makes entries in a tree. A context: leaving it without error sets the directories' times."""

    def __init__(
        self,
        upper: int,
        lower: int | None,
        *,
        owner: Owner | None = None,
        keep_types: bool = False,
        keep_mounts: bool = False,
        users: UserMap | None = None,
    ) -> None:
        self.parents = Parents(upper, lower, self._remember_time, users.root if users else None)
        self._users = users
        self._owner = owner
        self._keep_types = keep_types
        self._keep_mounts = keep_mounts
        self._times: dict[str, int] = {}
        self._made_right: tuple[Directory, int, Owner] | None = None
        self._makers: dict[Kind, Callable[[Directory, str, Entry], None]] = {
            Kind.SYMLINK: self._make_symlink,
            Kind.HARDLINK: self._make_hardlink,
            Kind.CHARACTER: self._make_node,
            Kind.BLOCK: self._make_node,
            Kind.FIFO: self._make_node,
        }

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self._set_times()

    def run(self, reader: TarReader, add: Callable[[Entry, TarReader], None]) -> None:
        """Hand every entry to ``add`` and turn the errors of the system into sentences."""
        while (entry := reader.next()) is not None:
            try:
                add(entry, reader)
            except OSError as error:
                _raise_sentence(entry, error)
        reader.drain()

    def add(self, entry: Entry, reader: TarReader) -> None:
        """Make one entry, replacing what is there."""
        self.place(clean(entry.name), entry, reader)

    def place(self, path: str, entry: Entry, reader: TarReader) -> None:
        """Make one entry under a name that is clean."""
        if not path:
            self._set_root(entry)
            return
        head, _, name = path.rpartition("/")
        parent = self.parents.of(head)
        if entry.kind is Kind.FILE:
            self._make_file(parent, name, entry, reader)
        elif entry.kind is Kind.DIRECTORY:
            self._make_directory(parent, name, entry)
        else:
            self._makers[entry.kind](parent, name, entry)

    def _set_root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise BadArchive(f"the archive's entry {entry.name!r} has no name of its own")
        self._finish_directory(self.parents.root, entry)

    def _make_file(self, parent: Directory, name: str, entry: Entry, reader: TarReader) -> None:
        mode = entry.mode & 0o777
        try:
            fd = os.open(name, _CREATE, mode, dir_fd=parent.fd)
        except FileExistsError:
            self._clear(parent, name, entry)
            fd = os.open(name, _CREATE, mode, dir_fd=parent.fd)
        try:
            if entry.size:
                _write(fd, entry, reader)
            self._own(fd, parent, entry)
            if entry.xattrs:
                attributes.set_xattrs(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)
        self.parents.changed(parent, name, replaced=False)

    def _owner_of(self, entry: Entry) -> Owner:
        owner = self._owner or (entry.uid, entry.gid)
        return owner if self._users is None else self._users.on_host(*owner)

    def _own(self, fd: int, parent: Directory, entry: Entry) -> None:
        """Owner, then mode. Most files have both by their making, and each change is a transaction
        of the file system's. If one had, so has the next that is made alike in that directory: the
        directory decides (set-group-ID, default ACL), and who changes it meanwhile may change the
        file as well."""
        owner = self._owner_of(entry)
        alike = (parent, entry.mode, owner)
        if alike == self._made_right:
            return
        status = os.fstat(fd)
        changed = owner != (status.st_uid, status.st_gid)
        if changed:
            os.fchown(fd, *owner)
        if changed or stat.S_IMODE(status.st_mode) != entry.mode:
            os.fchmod(fd, entry.mode)
        else:
            self._made_right = alike

    def _make_directory(self, parent: Directory, name: str, entry: Entry) -> None:
        status = parent.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            directory = self.parents.of(parent.child_path(name))
        else:
            if status is not None:
                self._clear(parent, name, entry)
            directory = self.parents.new_directory(parent, name, opaque=status is not None)
            self.parents.changed(parent, name, replaced=False)
        self._finish_directory(directory, entry)

    def _finish_directory(self, directory: Directory, entry: Entry) -> None:
        self._made_right = None
        uid, gid = self._owner_of(entry)
        attributes.set_owner_and_mode(directory.fd, uid, gid, entry.mode)
        attributes.set_xattrs(directory.fd, entry.xattrs)
        self._remember_time(directory, entry.mtime_ns)

    def _remember_time(self, directory: Directory, mtime_ns: int) -> None:
        self._times[directory.path] = mtime_ns

    def _make_symlink(self, parent: Directory, name: str, entry: Entry) -> None:
        self._replace(parent, name, entry, lambda: os.symlink(entry.target, name, dir_fd=parent.fd))
        self._finish_special(parent, name, entry)

    def _make_node(self, parent: Directory, name: str, entry: Entry) -> None:
        kind = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
        mode = kind[entry.kind] | (entry.mode & 0o777)
        device = os.makedev(*entry.device)
        self._replace(parent, name, entry, lambda: os.mknod(name, mode, device, dir_fd=parent.fd))
        self._finish_special(parent, name, entry)

    def _finish_special(self, parent: Directory, name: str, entry: Entry) -> None:
        uid, gid = self._owner_of(entry)
        os.chown(name, uid, gid, dir_fd=parent.fd, follow_symlinks=False)
        path = attributes.proc_path(parent.fd, name)
        if entry.kind is not Kind.SYMLINK:
            attributes.chmod_no_follow(parent.fd, name, entry.mode)
        if entry.xattrs:
            attributes.set_xattrs(path, entry.xattrs)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=parent.fd, follow_symlinks=False)

    def _make_hardlink(self, parent: Directory, name: str, entry: Entry) -> None:
        path = clean(entry.target)
        if not path:
            raise BadArchive(f"the archive's hard link {entry.name!r} points to the root")
        head, _, target = path.rpartition("/")
        source = self.parents.of(head)
        status = source.status(target) or self.copy_up(source, target)
        if status is None or stat.S_ISDIR(status.st_mode):
            raise BadArchive(
                f"the archive's hard link {entry.name!r} points to {entry.target!r}, "
                f"which is {'missing' if status is None else 'a directory'}"
            )
        there = parent.status(name)
        if there is not None and os.path.samestat(there, status):
            return
        self._replace(parent, name, entry, lambda: _link(source, target, parent, name))

    def copy_up(self, source: Directory, name: str) -> os.stat_result | None:
        """Bring a file from below into the tree, where there is something below."""
        return None

    def _replace(
        self, parent: Directory, name: str, entry: Entry, make: Callable[[], None]
    ) -> None:
        try:
            make()
        except FileExistsError:
            self._clear(parent, name, entry)
            make()
        self.parents.changed(parent, name, replaced=False)

    def _clear(self, parent: Directory, name: str, entry: Entry) -> None:
        """Make way for an entry."""
        status = parent.status(name)
        if status is None:
            return
        was_directory = stat.S_ISDIR(status.st_mode)
        if self._keep_types and was_directory is not (entry.kind is Kind.DIRECTORY):
            raise InvalidArgument(
                f"cannot overwrite {'' if was_directory else 'non-'}directory "
                f"{parent.child_path(name)!r} with {'non-' if was_directory else ''}directory "
                f"{entry.name!r}"
            )
        if self._keep_mounts and _has_mounts(parent.fd, name, status):
            raise Conflict(
                f"cannot replace {parent.child_path(name)!r}: device or resource busy, since "
                "something is mounted on it"
            )
        remove_tree(name, dir_fd=parent.fd)
        replaced = was_directory or stat.S_ISLNK(status.st_mode)
        self.parents.changed(parent, name, replaced=replaced)

    def _set_times(self) -> None:
        """Directories' times come last, since each entry made in one changes it."""
        for path, mtime_ns in self._times.items():
            fd = self.parents.existing(path)
            if fd is not None:
                try:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(fd)


def _link(source: Directory, target: str, parent: Directory, name: str) -> None:
    os.link(target, name, src_dir_fd=source.fd, dst_dir_fd=parent.fd, follow_symlinks=False)


def _has_mounts(parent: int, name: str, status: os.stat_result) -> bool:
    """Whether a mount is on a name, or on anything below it."""
    own = files.mount_id(parent, "")
    if files.mount_id(parent, name) != own:
        return True
    if not stat.S_ISDIR(status.st_mode):
        return False
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        return any(files.mount_id(node.dir_fd, node.at) != own for node in walk(fd))
    finally:
        os.close(fd)


def _write(fd: int, entry: Entry, reader: TarReader) -> None:
    if entry.sparse is not None:
        _write_sparse(fd, entry, reader)
    elif (data := reader.buffered_content()) is not None:
        if (written := os.write(fd, data)) < len(data):
            write_all(fd, data[written:])
    else:
        for piece in reader.content():
            write_all(fd, piece)


def _write_sparse(fd: int, entry: Entry, reader: TarReader) -> None:
    """Write the pieces to their places and leave the rest a hole."""
    os.ftruncate(fd, entry.size)
    content = reader.content()
    rest = memoryview(b"")
    for offset, length in entry.sparse or ():
        end = offset + length
        while offset < end:
            rest = rest or next(content)
            written = os.pwrite(fd, rest[: end - offset], offset)
            rest = rest[written:]
            offset += written


def _raise_sentence(entry: Entry, error: OSError) -> NoReturn:
    sentence: WherryError
    if error.errno in _NO_SPACE:
        sentence = ResourceExhausted(f"cannot unpack {entry.name!r}: no space left on device")
    elif error.errno == errno.EROFS:
        sentence = PermissionDenied(f"cannot unpack {entry.name!r}: read-only file system")
    elif error.errno in _ARCHIVE_AT_FAULT:
        sentence = BadArchive(
            f"the archive's entry {entry.name[:80]!r} cannot be made: {error.strerror}"
        )
    else:
        sentence = InternalError(f"cannot unpack {entry.name!r}: {error.strerror}")
    raise sentence from error
