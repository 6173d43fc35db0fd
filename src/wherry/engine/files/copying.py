"""Files into containers and out of them: ``docker cp`` and ``docker export``.

Paths are the container's: links are followed inside its root, also while it changes them. The last
component of a path is not followed, unless it ends in ``/`` or ``/.`` (BEHAVIOURS of ``cp``).
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from wherry.engine.api import PathStat
from wherry.engine.events import Events
from wherry.engine.files.trees import ContainerTrees
from wherry.engine.records import Container
from wherry.engine.spec import resolve_user
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument, NotFound, PermissionDenied
from wherry.fs.compress import Decompressed
from wherry.fs.root import Root
from wherry.fs.streams import Readable, batched
from wherry.fs.tar.pack import Packer, pack_tree
from wherry.fs.tar.unpack import extract
from wherry.fs.tar.writer import END
from wherry.fs.walk import OPEN_DIRECTORY, Node
from wherry.sys import files

_KERNEL_FILES = frozenset(
    {
        files.PROC_SUPER_MAGIC,
        files.DEVPTS_SUPER_MAGIC,
        files.CGROUP_SUPER_MAGIC,
        files.CGROUP2_SUPER_MAGIC,
        files.NSFS_MAGIC,
        files.SYSFS_MAGIC,
        files.MQUEUE_MAGIC,
    }
)
"""File systems that hold no files: a copy of what they are mounted in leaves them out."""

Output = Callable[[bytes], None]


class _Place(msgspec.Struct, frozen=True):
    """Something in a tree: what a copy calls it, its path without ``.`` and ``..``, and an O_PATH
    descriptor of it."""

    name: str
    path: str
    fd: int

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self.fd)


class ContainerFiles:
    """Implements ``engine.api.FileApi``."""

    def __init__(self, table: ContainerTable, trees: ContainerTrees, events: Events) -> None:
        self._table = table
        self._trees = trees
        self._events = events

    def stat(self, ref: str, path: str) -> PathStat:
        entry = self._table.find(ref)
        with self._trees.with_mounts(entry) as root, _located(root, path, entry.record) as place:
            return _describe(root, place)

    def get(self, ref: str, path: str, begin: Callable[[PathStat], None], output: Output) -> None:
        entry = self._table.find(ref)
        with self._trees.with_mounts(entry) as root, _located(root, path, entry.record) as place:
            begin(_describe(root, place))
            with _in_words(path, entry.record):
                for piece in batched(_pack(root, place)):
                    output(piece)
        self._events.container("archive-path", entry.record)

    def put(
        self, ref: str, path: str, archive: Readable, *, keep_types: bool, container_user: bool
    ) -> None:
        entry = self._table.find(ref)
        record = entry.record
        with self._trees.with_mounts(entry) as root:
            prefix = _target_directory(root, path, record)
            owner = None
            if container_user and record.config.user:
                user = resolve_user(root.fd, record.config.user)
                owner = (user.uid, user.gid)
            extract(
                Decompressed(archive),
                root.fd,
                prefix=prefix,
                owner=owner,
                keep_types=keep_types,
                keep_mounts=True,
                users=root.users,
            )
        self._events.container("extract-to-dir", record)

    def export(self, ref: str, output: Output) -> None:
        entry = self._table.find(ref)
        with self._trees.without_mounts(entry) as root:
            for piece in batched(pack_tree(root.fd, users=root.users)):
                output(piece)
        self._events.container("export", entry.record)


def _clean(path: str) -> str:
    if not path:
        raise InvalidArgument("bad parameter: the path must not be empty")
    if "\0" in path:
        raise InvalidArgument("bad parameter: the path contains a zero byte")
    return posixpath.normpath("/" + path.lstrip("/"))


@contextmanager
def _located(root: Root, path: str, record: Container) -> Iterator[_Place]:
    clean = _clean(path)
    contents = path.endswith("/.") or path == "."
    flags = os.O_DIRECTORY if contents or path.endswith("/") else os.O_NOFOLLOW
    with _in_words(path, record):
        fd = root.open(clean, os.O_PATH | flags)
    try:
        yield _Place("." if contents else posixpath.basename(clean), clean, fd)
    finally:
        os.close(fd)


@contextmanager
def _in_words(path: str, record: Container) -> Iterator[None]:
    """Docker's words for a path that leads nowhere."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOTDIR and path.endswith(("/", "/.")):
            raise InvalidArgument(f"{path} in container {record.name} is not a directory") from None
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            raise NotFound(f"Could not find the file {path} in container {record.name}") from None
        raise


def _describe(root: Root, place: _Place) -> PathStat:
    status = place.status
    is_link = stat.S_ISLNK(status.st_mode)
    return PathStat(
        name=place.name or "/",
        size=status.st_size,
        mode=status.st_mode,
        mtime_ns=status.st_mtime_ns,
        link_target=_link_target(root, place) if is_link else "",
    )


def _link_target(root: Root, place: _Place) -> str:
    """Where a link leads inside the root; what it says if that leads nowhere."""
    try:
        return root.resolve(place.path)
    except OSError:
        text = os.readlink("", dir_fd=place.fd)
        return _clean(posixpath.join(posixpath.dirname(place.path), text))


def _pack(root: Root, place: _Place) -> Iterator[bytes]:
    """The archive of one file, or of a directory and all in it, under its last name."""
    if stat.S_ISDIR(place.status.st_mode):
        yield from _pack_directory(root, place)
        return
    parent, name = root.open_parent(place.path)
    try:
        packer = Packer(users=root.users)
        yield from packer.node(Node(place.name, name, parent, place.status))
    except OSError as error:
        raise Conflict(f"cannot copy {place.path}: {error.strerror or error}") from error
    finally:
        os.close(parent)
    yield END


def _pack_directory(root: Root, place: _Place) -> Iterator[bytes]:
    fd = os.open(".", OPEN_DIRECTORY, dir_fd=place.fd)
    try:
        yield from Packer(users=root.users).node(Node(place.name, ".", fd, os.fstat(fd)))
        yield from pack_tree(fd, prefix=f"{place.name}/", skip=_is_of_kernel, users=root.users)
    finally:
        os.close(fd)


def _is_of_kernel(node: Node) -> bool:
    return node.is_directory and files.filesystem_type(node.dir_fd) in _KERNEL_FILES


def _target_directory(root: Root, path: str, record: Container) -> str:
    """The path without links of the directory to unpack in; PermissionDenied if it is not
    writable."""
    clean = _clean(path)
    with _in_words(path, record):
        fd = root.open(clean, os.O_PATH)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                raise InvalidArgument("extraction point is not a directory")
            resolved = root.resolve(clean)
            read_only = bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
        finally:
            os.close(fd)
    if read_only:
        inside = any(_is_below(resolved, mount.destination) for mount in record.mounts)
        what = "mounted volume" if inside else "container rootfs"
        raise PermissionDenied(f"{what} is marked read-only")
    return resolved


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
