"""Pack trees: any tree as it is, and the changes in an overlay's ``upper`` directory as a layer.

The same tree always gives the same bytes: names are sorted, times are whole seconds, hard links
are found by their first name, sockets are left out, holes of sparse files are zeros.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice

import msgspec

from wherry.errors import NotSupported
from wherry.fs import attributes
from wherry.fs.holes import data_pieces, has_holes
from wherry.fs.tar import writer
from wherry.fs.tar.entry import DEFAULT_LIMITS, NO_XATTRS, Entry, Kind
from wherry.fs.tar.layer import WHITEOUT
from wherry.fs.tar.parents import OPAQUE, is_whiteout
from wherry.fs.walk import Node, open_below, walk
from wherry.model.users import UserMap

_CHUNK = 1024 * 1024
_NANO = 1_000_000_000
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFIFO: Kind.FIFO,
}
_CHANGED = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ESTALE}
)
"""What opening or reading a name fails with that is something else by now; EINVAL: no link."""
_FOREIGN = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


class Packer:
    """Turns nodes of one walk into the pieces of one archive."""

    def __init__(
        self,
        *,
        prefix: str = "",
        max_mtime: int | None = None,
        owner: tuple[int, int] | None = None,
        holes: bool = False,
        users: UserMap | None = None,
    ) -> None:
        """``prefix`` goes in front of every name. ``max_mtime``: later times become this one, in
        seconds since the epoch. ``owner`` replaces all owners. ``holes``: sparse files are stored
        as such, in GNU's form, instead of with zeros. ``users``: owners are told as a container
        with these sees them."""
        self._prefix = prefix
        self._max_ns = None if max_mtime is None else max_mtime * _NANO
        self._owner = owner
        self._holes = holes
        self._users = users
        self._links: dict[tuple[int, int], str] = {}

    def node(self, node: Node) -> Iterable[bytes]:
        """Header and content of one name; nothing for a socket. OSError, at once or in between."""
        if node.is_file:
            return self._file(node)
        kind = _KINDS.get(stat.S_IFMT(node.status.st_mode))
        if kind is None:
            return ()
        target = node.readlink() if kind is Kind.SYMLINK else ""
        return (writer.header(self.entry(node, kind, node.xattrs(), target)),)

    def present(self, node: Node) -> Iterable[bytes]:
        """The same; nothing if it was removed or replaced since the walk came by."""
        try:
            pieces = self.node(node)
            if isinstance(pieces, tuple):  # most files are small, and generators cost
                return pieces
            return _begun(iter(pieces))
        except OSError as error:
            if error.errno in _CHANGED:
                return ()
            raise

    def entry(self, node: Node, kind: Kind, xattrs: dict[str, bytes], target: str = "") -> Entry:
        """What the archive says about a node."""
        status = node.status
        mtime = status.st_mtime_ns
        if self._max_ns is not None and mtime > self._max_ns:
            mtime = self._max_ns
        uid, gid = self._owner or (status.st_uid, status.st_gid)
        if self._users is not None:
            uid, gid = self._users.in_container(uid, gid)
        device = (0, 0)
        if kind is Kind.CHARACTER or kind is Kind.BLOCK:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        name = self._prefix + node.path
        if kind is Kind.DIRECTORY:
            name += "/"
        return Entry(
            name,
            kind,
            stat.S_IMODE(status.st_mode) if kind is not Kind.SYMLINK else 0o777,
            uid,
            gid,
            status.st_size if kind is Kind.FILE else 0,
            mtime,
            target,
            device,
            xattrs or NO_XATTRS,
        )

    def _file(self, node: Node) -> Iterable[bytes]:
        fd = node.open()
        try:
            status = node.status
            if status.st_nlink > 1:
                first = self._links.setdefault((status.st_dev, status.st_ino), node.path)
                if first != node.path:
                    target = self._prefix + first
                    return (writer.header(self.entry(node, Kind.HARDLINK, NO_XATTRS, target)),)
            entry = self.entry(node, Kind.FILE, attributes.carried_xattrs(fd))
            if entry.size > _CHUNK or (self._holes and has_holes(status)):
                return self._large_file(node, entry)
            content = _whole(fd, entry.size)
            return (b"".join((writer.header(entry), content, writer.padding(entry.size))),)
        finally:
            os.close(fd)

    def _large_file(self, node: Node, entry: Entry) -> Iterator[bytes]:
        fd = node.open()
        try:
            if self._holes and has_holes(node.status):
                yield from _sparse_file(fd, entry)
                return
            yield writer.header(entry)
            yield from _content(fd, entry.size)
            yield writer.padding(entry.size)
        finally:
            os.close(fd)


def _sparse_file(fd: int, entry: Entry) -> Iterator[bytes]:
    pieces = data_pieces(fd, entry.size, DEFAULT_LIMITS.pieces - 1)
    # GNU tar takes the end of the last piece for that of the file.
    entry = msgspec.structs.replace(entry, sparse=(*pieces, (entry.size, 0)))
    yield writer.header(entry)
    for offset, length in pieces:
        os.lseek(fd, offset, os.SEEK_SET)
        yield from _content(fd, length)
    yield writer.padding(writer.stored_size(entry))


def _begun(pieces: Iterator[bytes]) -> Iterable[bytes]:
    """The same pieces; what goes wrong before the first has gone wrong here."""
    return chain(tuple(islice(pieces, 1)), pieces)


def _whole(fd: int, size: int) -> bytes:
    """A file's content of that size, see :func:`_content`."""
    data = os.read(fd, size) if size else b""
    return data if len(data) == size else data + b"".join(_content(fd, size - len(data)))


def _content(fd: int, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes, whatever happens to the file meanwhile: zeros for what is missing,
    as the header has gone out already."""
    while size:
        data = os.read(fd, min(size, _CHUNK)) or bytes(min(size, _CHUNK))
        yield data
        size -= len(data)


def pack_tree(
    root: int,
    start: str = "",
    *,
    prefix: str = "",
    include_start: bool = False,
    skip: Callable[[Node], bool] | None = None,
    owner: tuple[int, int] | None = None,
    max_mtime: int | None = None,
    holes: bool = False,
    users: UserMap | None = None,
) -> Iterator[bytes]:
    """A tar stream of what is below the directory ``start`` of ``root``, reached without links.

    Names in the archive are ``prefix`` (with its own slash) and the name relative to ``root``.
    ``include_start`` adds ``start`` itself. ``skip`` leaves out a name and all below it; the rest
    is as for :class:`Packer`.
    """
    packer = Packer(prefix=prefix, max_mtime=max_mtime, owner=owner, holes=holes, users=users)
    if include_start:
        yield from _start(packer, root, start)
    for node in walk(root, start, skip=skip, unseen=True):
        yield from packer.present(node)
    yield writer.END


def _start(packer: Packer, root: int, start: str) -> Iterator[bytes]:
    fd = open_below(root, start)
    if fd is None:
        raise FileNotFoundError(2, "No such directory", start)
    try:
        node = Node(start or ".", ".", fd, os.fstat(fd))
        yield from packer.node(node)
    finally:
        os.close(fd)


def pack_layer(
    upper: int,
    lower: int | None,
    *,
    exclude: Collection[str] = (),
    max_mtime: int | None = None,
) -> Iterator[bytes]:
    """A layer's tar stream of the changes in an overlay's upper directory; nothing at all, not
    even an end, if there are none.

    ``lower`` is a descriptor of all layers below as one tree. Removals are explicit whiteouts, for
    opaque directories, too. A directory is left out if nothing below it changed and its owner,
    mode and xattrs are those that it has below: making something in it that is gone now leaves
    such a one, and its time tells nothing. ``exclude``: absolute paths that are left out while
    they are empty.

    NotSupported for a name that starts with ``.wh.``, which no layer can hold.
    """
    packing = _LayerPacking(upper, lower, exclude, Packer(max_mtime=max_mtime))
    anything = False
    for piece in packing.pieces():
        anything = True
        yield piece
    if anything:
        yield writer.END


class _LayerPacking:
    def __init__(
        self, upper: int, lower: int | None, exclude: Collection[str], packer: Packer
    ) -> None:
        self._upper = upper
        self._lower = lower
        self._packer = packer
        self._exclude = frozenset(path.strip("/") for path in exclude)
        self._pending: list[tuple[str, bytes]] = []  # directories that may turn out unchanged
        self._hidden: set[str] = set()  # directories that show nothing of those below

    def pieces(self) -> Iterator[bytes]:
        yield from self._root()
        for node in walk(self._upper):
            if node.is_directory:
                yield from self._directory(node)
            elif not (node.path in self._exclude and _is_empty_file(node)):
                yield from self._other(node)

    def _root(self) -> Iterator[bytes]:
        """The root's own entry, if it is not what it would be without one."""
        node = Node(".", ".", self._upper, os.fstat(self._upper))
        status = node.status
        if self._lower is not None:
            changed = not _same_attributes(node, self._lower)
        else:
            plain = (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)
            changed = not plain or bool(node.xattrs())
        if changed:
            yield writer.header(self._packer.entry(node, Kind.DIRECTORY, node.xattrs()))

    def _directory(self, node: Node) -> Iterator[bytes]:
        self._drop_pending(node.path)
        header = writer.header(self._packer.entry(node, Kind.DIRECTORY, node.xattrs()))
        parent_hidden = node.path.rpartition("/")[0] in self._hidden
        below = open_below(self._lower, node.path) if self._lower is not None else None
        try:
            unchanged = below is not None and _same_attributes(node, below)
            if unchanged or node.path in self._exclude:
                self._pending.append((node.path, header))
            else:
                yield from self._flush()
                yield header
            if parent_hidden or node.has_xattr(OPAQUE) == b"y":
                self._hidden.add(node.path)
                if below is not None:
                    yield from self._whiteouts(node, below)
        finally:
            if below is not None:
                os.close(below)

    def _whiteouts(self, node: Node, below: int) -> Iterator[bytes]:
        """Removals for all that a directory hides and does not have itself."""
        fd = node.open()
        try:
            own = set(os.listdir(fd))
        finally:
            os.close(fd)
        for name in sorted(set(os.listdir(below)) - own):
            yield from self._flush()
            yield _whiteout(f"{node.path}/{name}")

    def _other(self, node: Node) -> Iterator[bytes]:
        self._drop_pending(node.path)
        if is_whiteout(node.status):
            if self._lower is not None:
                yield from self._flush()
                yield _whiteout(node.path)
            return
        if node.name.startswith(WHITEOUT):
            raise NotSupported(
                f"cannot put {'/' + node.path!r} into a layer: names that start with "
                f"{WHITEOUT!r} mean removals there"
            )
        for name in _FOREIGN:
            if node.has_xattr(name) is not None:
                raise NotSupported(f"cannot read {'/' + node.path!r}: it has the xattr {name}")
        for piece in self._packer.present(node):
            yield from self._flush()
            yield piece

    def _flush(self) -> Iterator[bytes]:
        """Something below the pending directories changed, so they belong to the layer."""
        for _, header in self._pending:
            yield header
        self._pending.clear()

    def _drop_pending(self, path: str) -> None:
        """Forget the pending directories that ``path`` is not below of: nothing in them changed."""
        while self._pending and not path.startswith(self._pending[-1][0] + "/"):
            self._pending.pop()


def _same_attributes(node: Node, below: int) -> bool:
    ours, theirs = node.status, os.fstat(below)
    return (ours.st_mode, ours.st_uid, ours.st_gid) == (
        theirs.st_mode,
        theirs.st_uid,
        theirs.st_gid,
    ) and node.xattrs() == attributes.carried_xattrs_of_path_fd(below)


def _is_empty_file(node: Node) -> bool:
    return node.is_file and node.status.st_size == 0


def _whiteout(path: str) -> bytes:
    head, slash, name = path.rpartition("/")
    return writer.header(Entry(f"{head}{slash}{WHITEOUT}{name}", Kind.FILE, 0o600))
