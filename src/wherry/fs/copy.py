"""Copy trees with all that belongs to their files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from wherry.fs import attributes
from wherry.fs.holes import data_pieces, has_holes
from wherry.fs.walk import OPEN_DIRECTORY, Node, open_below, walk

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 30
_CHUNK = 1 << 20
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_NO_OFFLOAD = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


def copy_tree(source: int, target: int) -> None:
    """Copy what is in the directory ``source`` into ``target``, and ``source``'s own attributes.

    Owners, modes, xattrs, times, hard links, holes, devices and fifos are kept; sockets are left
    out. On file systems that can, file contents are shared instead of copied. Nothing may exist in
    ``target`` under a name that is copied (FileExistsError).
    """
    copier = _Copier(target)
    for node in walk(source):
        copier.copy(node)
    copier.finish_directories()
    copy_attributes(source, target)


def copy_attributes(source: int, target: int) -> None:
    """Owner, mode, xattrs and times of an open file or directory to another."""
    status = os.fstat(source)
    mode = stat.S_IMODE(status.st_mode)
    attributes.set_owner_and_mode(target, status.st_uid, status.st_gid, mode)
    attributes.set_xattrs(target, attributes.carried_xattrs(source))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def copy_content(source: int, target: int) -> None:
    """All bytes of one open file to an empty one: shared (ioctl_ficlone(2)) where the file system
    can, else copied in the kernel where that can. Holes stay holes."""
    if _share(source, target):
        return
    status = os.fstat(source)
    if has_holes(status):
        os.ftruncate(target, status.st_size)
        for offset, length in data_pieces(source, status.st_size):
            _copy_piece(source, target, offset, length)
        return
    try:
        while os.copy_file_range(source, target, _PIECE):
            pass
    except OSError as error:
        if error.errno not in _NO_OFFLOAD:
            raise
        while os.sendfile(target, source, None, _PIECE):
            pass


def _share(source: int, target: int) -> bool:
    """Whether the target has the source's blocks now."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # not this file system, or two of them; what is really wrong, a copy meets
        return False
    return True


def _copy_piece(source: int, target: int, offset: int, length: int) -> None:
    """One range to the same place; less, if the file has become shorter."""
    end = offset + length
    while offset < end:
        try:
            done = os.copy_file_range(source, target, min(end - offset, _PIECE), offset, offset)
        except OSError as error:
            if error.errno not in _NO_OFFLOAD:
                raise
            data = os.pread(source, min(end - offset, _CHUNK), offset)
            done = os.pwrite(target, data, offset) if data else 0
        if not done:
            return
        offset += done


class _Copier:
    def __init__(self, target: int) -> None:
        self._target = target
        self._links: dict[tuple[int, int], str] = {}
        self._directories: list[tuple[str, os.stat_result]] = []

    def copy(self, node: Node) -> None:
        head, _, name = node.path.rpartition("/")
        parent = _open_parent(self._target, head)
        try:
            if node.is_directory:
                self._directory(node, parent, name)
            elif node.is_file:
                self._file(node, parent, name)
            elif not stat.S_ISSOCK(node.status.st_mode):
                _special(node, parent, name)
        finally:
            os.close(parent)

    def _directory(self, node: Node, parent: int, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
        try:
            copy_attributes(node.dir_fd, fd)
        finally:
            os.close(fd)
        self._directories.append((node.path, node.status))

    def _file(self, node: Node, parent: int, name: str) -> None:
        status = node.status
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), node.path)
            if first != node.path:
                self._link(first, parent, name)
                return
        source = node.open()
        try:
            target = os.open(name, _CREATE, 0o600, dir_fd=parent)
            try:
                copy_content(source, target)
                copy_attributes(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _link(self, first: str, parent: int, name: str) -> None:
        head, _, base = first.rpartition("/")
        other = _open_parent(self._target, head)
        try:
            os.link(base, name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(other)

    def finish_directories(self) -> None:
        """Times come last, since each copy into a directory changes them."""
        for path, status in self._directories:
            fd = _open_parent(self._target, path)
            try:
                os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(fd)


def _open_parent(target: int, path: str) -> int:
    fd = open_below(target, path)
    if fd is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return fd


def _special(node: Node, parent: int, name: str) -> None:
    status = node.status
    is_link = stat.S_ISLNK(status.st_mode)
    if is_link:
        os.symlink(node.readlink(), name, dir_fd=parent)
    else:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=parent)
    os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
    if not is_link:
        attributes.chmod_no_follow(parent, name, stat.S_IMODE(status.st_mode))
    attributes.set_xattrs(attributes.proc_path(parent, name), node.xattrs())
    with suppress(OSError):  # not every file system keeps a link's times
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)
