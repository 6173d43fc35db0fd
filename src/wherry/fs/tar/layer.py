"""Unpack an image's layer into the ``upper`` directory of an overlay.

What the layer removes becomes what overlayfs reads as removed: a character device 0/0 for a
whiteout ``.wh.NAME``, an xattr for an opaque marker ``.wh..wh..opq`` (image-spec, layer.md,
"Representing Changes"). Both hide what is in the layers below, and never what the same layer
brings, in whichever order the archive has them.
"""

from __future__ import annotations

import os
import shutil
import stat

from wherry.fs import attributes
from wherry.fs.tar.entry import DEFAULT_LIMITS, BadArchive, Entry, Kind, Limits
from wherry.fs.tar.parents import WHITEOUT_DEVICE, Directory, clean
from wherry.fs.tar.reader import Readable, TarReader
from wherry.fs.tar.unpack import Unpacker

WHITEOUT = ".wh."
OPAQUE_MARKER = ".wh..wh..opq"
_AUFS = ".wh..wh."  # bookkeeping of aufs, which old Docker put into layers


def apply_layer(
    stream: Readable, upper: int, lower: int | None, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Unpack a layer into the open directory ``upper``, on top of the tree ``lower``.

    ``lower`` is a descriptor of all layers below as one tree, None for the first layer. The stream
    is read to its end, so that a digest of it is complete. BadArchive, ResourceExhausted for a full
    disk, InternalError.
    """
    with _LayerUnpacker(upper, lower) as unpacker:
        unpacker.run(TarReader(stream, limits), unpacker.add)


class _LayerUnpacker(Unpacker):
    def __init__(self, upper: int, lower: int | None) -> None:
        super().__init__(upper, lower)
        self._lower = lower
        self._root_is_opaque = False

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None and self._root_is_opaque:
            self._hide_lower_root()
        super().__exit__(kind, error, traceback)

    def add(self, entry: Entry, reader: TarReader) -> None:
        path = clean(entry.name)
        if WHITEOUT in path and self._add_marker(path, entry):
            return
        if entry.kind is Kind.CHARACTER and entry.device == (0, 0):
            self._hide(path)  # overlayfs would not show it as a device
        else:
            self.place(path, entry, reader)

    def _add_marker(self, path: str, entry: Entry) -> bool:
        """Do what a marker asks for; False if the name is no marker."""
        head, _, name = path.rpartition("/")
        if name == OPAQUE_MARKER:
            self._make_opaque(head)
        elif path.startswith(_AUFS) or name.startswith(_AUFS):
            return True
        elif not name.startswith(WHITEOUT):
            return False
        elif name.removeprefix(WHITEOUT) in ("", ".", ".."):
            raise BadArchive(f"the archive's whiteout {entry.name!r} removes nothing that can be")
        else:
            self._hide(f"{head}/{name.removeprefix(WHITEOUT)}".lstrip("/"))
        return True

    def _make_opaque(self, path: str) -> None:
        if path:
            self.parents.make_opaque(self.parents.of(path))
        else:
            self._root_is_opaque = self._lower is not None

    def _hide(self, path: str) -> None:
        if self._lower is not None:
            head, _, name = path.rpartition("/")
            parent = self.parents.of(head)
            if parent.merged:
                self._hide_in(parent, name)

    def _hide_in(self, parent: Directory, name: str) -> None:
        status = parent.status(name)
        if status is None:
            os.mknod(name, stat.S_IFCHR, WHITEOUT_DEVICE, dir_fd=parent.fd)
            self.parents.changed(parent, name, replaced=False)
        elif stat.S_ISDIR(status.st_mode):
            self.parents.make_opaque(self.parents.of(parent.child_path(name)))

    def _hide_lower_root(self) -> None:
        """overlayfs has no opaque root, so everything that is below gets a whiteout."""
        assert self._lower is not None
        for name in os.listdir(self._lower):
            self._hide_in(self.parents.root, name)

    def copy_up(self, source: Directory, name: str) -> os.stat_result | None:
        """A hard link to a file of a layer below: overlayfs would copy it up first, too."""
        lower = self.parents.open_lower(source, name)
        if lower is None:
            return None
        try:
            status = os.fstat(lower)
            if stat.S_ISDIR(status.st_mode):
                return status
            _copy_up(lower, status, source, name)
        finally:
            os.close(lower)
        return source.status(name)


def _copy_up(lower: int, status: os.stat_result, target: Directory, name: str) -> None:
    if stat.S_ISREG(status.st_mode):
        _copy_file(lower, status, target, name)
        return
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink("", dir_fd=lower), name, dir_fd=target.fd)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target.fd)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target.fd, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        attributes.chmod_no_follow(target.fd, name, stat.S_IMODE(status.st_mode))
    times = (status.st_atime_ns, status.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=target.fd, follow_symlinks=False)


def _copy_file(lower: int, status: os.stat_result, target: Directory, name: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        open(f"/proc/self/fd/{lower}", "rb", buffering=0) as source,
        open(os.open(name, flags, 0o600, dir_fd=target.fd), "wb", buffering=0) as copy,
    ):
        shutil.copyfileobj(source, copy, 1024 * 1024)
        fd = copy.fileno()
        attributes.set_owner_and_mode(
            fd, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
        )
        attributes.set_xattrs(fd, attributes.carried_xattrs(source.fileno()))
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
