"""Hash and copy trees of files by descriptor: what COPY and ADD put into an image.

Neither tree is trusted: no link inside is followed, each name is opened below its directory.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from wherry.build.api import CopyFailed
from wherry.build.patterns import Patterns
from wherry.build.roots import DIRECTORY, closing, reopen
from wherry.fs.attributes import (
    carried_xattrs,
    carried_xattrs_of_path_fd,
    proc_path,
    set_xattrs,
)
from wherry.fs.remove import remove_tree
from wherry.fs.walk import walk

Owner = tuple[int, int]
_DEPTH_LIMIT = 256
_CHUNK = 8 * 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Rules(NamedTuple):
    """How a copy differs from its source. ``mtime_ns`` is set on all of it."""

    owner: Owner | None  # None keeps that of the source
    mode: int | None  # None keeps that of the source; permission and set-id bits
    exclude: Patterns
    mtime_ns: int


class Check(Protocol):
    def __call__(self) -> None:
        """Called for each file; raises to stop."""
        ...


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def _left_out(path: str, status: os.stat_result, exclude: Patterns) -> bool:
    """Whether a name and all below it is left out.

    A directory is not if there may be exceptions below it.
    """
    if not exclude or not exclude.match(path):
        return False
    return not (stat.S_ISDIR(status.st_mode) and exclude.has_exceptions)


# --- hashing ---------------------------------------------------------------------------------


def hash_source(digest: Hash, fd: int, path: str, rules: Rules, check: Check) -> None:
    """Feed one file or tree, called ``path`` in the result, to a hash. ``fd`` may be O_PATH.

    Counts names, types, modes, owners, sizes, link targets, devices, extended attributes and
    content, as they will be in the copy; never times.
    """
    status = os.fstat(fd)
    digest.update(_described(path, status, rules, xattrs=carried_xattrs_of_path_fd(fd)))
    if stat.S_ISREG(status.st_mode):
        check()
        _hash_content(digest, reopen(fd, os.O_RDONLY))
    elif stat.S_ISDIR(status.st_mode):
        with closing(reopen(fd, DIRECTORY)) as directory:
            _hash_children(digest, directory, path, rules, check)


def _hash_children(digest: Hash, fd: int, path: str, rules: Rules, check: Check) -> None:
    for node in walk(fd, skip=lambda node: _left_out(node.path, node.status, rules.exclude)):
        check()
        link = node.readlink() if stat.S_ISLNK(node.status.st_mode) else None
        shown = f"{path}/{node.path}"
        digest.update(_described(shown, node.status, rules, xattrs=node.xattrs(), link=link))
        if node.is_file:
            _hash_content(digest, node.open())


def _hash_content(digest: Hash, fd: int) -> None:
    with open(fd, "rb", buffering=0) as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())


def _described(
    path: str,
    status: os.stat_result,
    rules: Rules,
    *,
    xattrs: dict[str, bytes],
    link: str | None = None,
) -> bytes:
    """What there is to say about an entry but its content; no two have the same."""
    is_device = stat.S_ISBLK(status.st_mode) or stat.S_ISCHR(status.st_mode)
    fields = (
        path,
        stat.S_IFMT(status.st_mode),
        None if link is not None else _mode(status, rules),
        rules.owner or (status.st_uid, status.st_gid),
        status.st_size if stat.S_ISREG(status.st_mode) else None,
        link,
        status.st_rdev if is_device else None,
        sorted(xattrs.items()),
    )
    return f"{fields!r}\n".encode("utf-8", "surrogateescape")


def _mode(status: os.stat_result, rules: Rules) -> int:
    return stat.S_IMODE(status.st_mode) if rules.mode is None else rules.mode


def children(fd: int, path: str, exclude: Patterns) -> Iterator[tuple[str, str, os.stat_result]]:
    """(name, path, status) of what is to be copied of a directory; ``path`` is its own."""
    if path.count("/") >= _DEPTH_LIMIT:
        raise CopyFailed(f"{path[:80]}... is nested more than {_DEPTH_LIMIT} directories deep")
    for name in sorted(os.listdir(fd)):
        below = f"{path}/{name}" if path else name
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if not _left_out(below, status, exclude):
            yield name, below, status


# --- copying ---------------------------------------------------------------------------------


class Copier:
    """Copies entries from one tree to another; hard links among them stay hard links."""

    def __init__(self, rules: Rules, check: Check) -> None:
        self._rules = rules
        self._check = check
        self._links: dict[tuple[int, int], tuple[int, str]] = {}
        self._kept: list[int] = []

    def __enter__(self) -> Copier:
        return self

    def __exit__(self, *_: object) -> None:
        while self._kept:
            os.close(self._kept.pop())

    def copy_file(self, fd: int, target: int, name: str) -> None:
        """Copy what an O_PATH descriptor names, no directory, to ``name`` below ``target``.

        Replaces what is there, but not a directory (CopyFailed).
        """
        self._check()
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            self._place(status, target, name, lambda: reopen(fd, os.O_RDONLY))
        else:
            self._place(status, target, name, None)

    def copy_children(self, source: int, relative: str, target: int) -> None:
        """Copy all that is in one directory into another; directories merge.

        ``relative`` is what ``exclude`` calls the source.
        """
        for name, below, status in children(source, relative, self._rules.exclude):
            self._check()
            if not stat.S_ISDIR(status.st_mode):
                self._copy_leaf(source, name, status, target)
                continue
            with closing(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=source)) as fd:
                if self._skipped(fd, below):
                    continue
                with closing(self._directory(target, name)) as made:
                    self.copy_children(fd, below, made)
                    self._finish_directory(fd, status, made)

    def _skipped(self, fd: int, path: str) -> bool:
        """A directory that is left out is made only if something below it is not."""
        exclude = self._rules.exclude
        if not exclude or not exclude.match(path):
            return False
        for name, below, status in children(fd, path, exclude):
            if not stat.S_ISDIR(status.st_mode):
                return False
            with closing(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)) as child:
                if not self._skipped(child, below):
                    return False
        return True

    def copy_attributes(self, source: int, target: int) -> None:
        """Make one open directory look like another."""
        self._finish_directory(source, os.fstat(source), target)

    def _directory(self, parent: int, name: str) -> int:
        """Make a directory, or open the one that is there."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            pass
        try:
            return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except NotADirectoryError:
            raise CopyFailed(f"cannot replace to non-directory {name} with directory") from None

    def _finish_directory(self, source: int, status: os.stat_result, made: int) -> None:
        os.fchown(made, *self._owner(status))
        os.fchmod(made, _mode(status, self._rules))
        set_xattrs(made, carried_xattrs(source))
        os.utime(made, ns=(self._rules.mtime_ns, self._rules.mtime_ns))

    def _owner(self, status: os.stat_result) -> Owner:
        return self._rules.owner or (status.st_uid, status.st_gid)

    def _copy_leaf(self, source: int, name: str, status: os.stat_result, target: int) -> None:
        if not stat.S_ISLNK(status.st_mode):
            self._place(status, target, name, lambda: os.open(name, _READ, dir_fd=source))
            return
        make_way(target, name)
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        set_xattrs(proc_path(target, name), carried_xattrs(proc_path(source, name)))
        self._finish_special(status, target, name)

    def _place(
        self, status: os.stat_result, target: int, name: str, opened: Callable[[], int] | None
    ) -> None:
        """Make anything but a directory or a link; sockets are left out, as tar does."""
        if stat.S_ISSOCK(status.st_mode):
            return
        make_way(target, name)
        if self._linked(status, target, name):
            return
        if stat.S_ISREG(status.st_mode) and opened:
            with closing(opened()) as reading:
                self._write_file(reading, status, target, name)
            return
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        self._finish_special(status, target, name)
        os.chmod(proc_path(target, name), _mode(status, self._rules))

    def _linked(self, status: os.stat_result, target: int, name: str) -> bool:
        """Link to the copy of another name of the same file; remember the first one."""
        if status.st_nlink < 2:
            return False
        key = (status.st_dev, status.st_ino)
        if key in self._links:
            directory, first = self._links[key]
            os.link(first, name, src_dir_fd=directory, dst_dir_fd=target, follow_symlinks=False)
            return True
        if not self._kept or not os.path.sameopenfile(self._kept[-1], target):
            self._kept.append(os.dup(target))
        self._links[key] = (self._kept[-1], name)
        return False

    def _write_file(self, reading: int, status: os.stat_result, target: int, name: str) -> None:
        with closing(create(target, name)) as writing:
            copy_content(reading, writing, status)
            os.fchown(writing, *self._owner(status))
            os.fchmod(writing, _mode(status, self._rules))
            set_xattrs(writing, carried_xattrs(reading))
            os.utime(writing, ns=(self._rules.mtime_ns, self._rules.mtime_ns))

    def _finish_special(self, status: os.stat_result, target: int, name: str) -> None:
        os.chown(name, *self._owner(status), dir_fd=target, follow_symlinks=False)
        times = (self._rules.mtime_ns, self._rules.mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def create(parent: int, name: str) -> int:
    """A new regular file, open for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=parent)


def make_way(parent: int, name: str) -> None:
    """Unlink what is there, unless it is a directory (CopyFailed)."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise CopyFailed(f"cannot replace to directory {name} with file") from None


def copy_content(reading: int, writing: int, status: os.stat_result) -> None:
    """Copy a file's bytes inside the kernel (by reference where it can); holes stay holes."""
    size = status.st_size
    os.ftruncate(writing, size)
    position = 0
    while position < size:
        start, end = _data(reading, position, size, sparse=status.st_blocks * 512 < size)
        _copy_range(reading, writing, start, end)
        position = end


def _data(fd: int, position: int, size: int, *, sparse: bool) -> tuple[int, int]:
    """The next piece of a file that is no hole; (size, size) if there is none."""
    if not sparse:
        return position, size
    with suppress(OSError):
        start = os.lseek(fd, position, os.SEEK_DATA)
        return start, os.lseek(fd, start, os.SEEK_HOLE)
    return size, size


def _copy_range(reading: int, writing: int, position: int, end: int) -> None:
    os.lseek(writing, position, os.SEEK_SET)
    while position < end:
        count = os.sendfile(writing, reading, position, min(end - position, _CHUNK))
        if not count:  # it became shorter
            return
        position += count


# --- leaving out -----------------------------------------------------------------------------


def remove_matching(fd: int, patterns: Patterns, path: str = "") -> bool:
    """Remove from a tree what matches; True if nothing is left in the directory ``path``."""
    empty = True
    for name in os.listdir(fd):
        below = f"{path}/{name}" if path else name
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        matched = patterns.match(below)
        if stat.S_ISDIR(status.st_mode) and (not matched or patterns.has_exceptions):
            with closing(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)) as child:
                matched = remove_matching(child, patterns, below) and matched
        if matched:
            remove_tree(name, dir_fd=fd)
        empty = empty and matched
    return empty
