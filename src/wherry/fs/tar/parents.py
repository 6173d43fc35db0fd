"""Find the directory that an archive's entry belongs into, without ever leaving a tree.

Each component is opened by itself, below the descriptor of the one before, without following
links; links are read and followed here, absolute ones and ``..`` stop at the root of the tree.
Nothing outside can be reached, even if somebody changes the tree at the same time.

For a layer the tree is the one that overlayfs will show: ``upper``, which is written, over
``lower``, which is only looked at. A directory that is only in ``lower`` is made in ``upper`` with
the same attributes, as overlayfs does when it copies up.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from wherry.fs import attributes
from wherry.fs.tar.entry import DEFAULT_LIMITS, BadArchive
from wherry.sys import files

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_BELOW = files.RESOLVE_BENEATH | files.RESOLVE_NO_SYMLINKS
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LINKS = 40  # as in the kernel, path_resolution(7)
_CACHED = 256

WHITEOUT_DEVICE = os.makedev(0, 0)
OPAQUE = "trusted.overlay.opaque"


def is_whiteout(status: os.stat_result) -> bool:
    """Whether overlayfs takes a file of a layer as "this name is gone"."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE


def clean(name: str) -> str:
    """An entry's name from the root without empty components; empty for the root itself.

    A name that starts at the root is taken as one below the tree's root, as all others do.
    BadArchive if it tries to climb.
    """
    path = name.strip("/").removeprefix("./")
    if "/." in path or "//" in path or path.startswith((".", "/")):
        path = _clean_slowly(name)
    if path.count("/") >= DEFAULT_LIMITS.depth:
        raise BadArchive(f"the archive's entry {name[:80]!r} lies too deep")
    return path


def _clean_slowly(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadArchive(f"the archive's entry {name!r} tries to leave the tree")
    return "/".join(parts)


class Directory:
    """A directory of the tree, open as long as somebody holds this object.

    ``path`` is its name from the root, without links. ``merged`` tells that overlayfs shows the
    contents of the lower directory of that name, too.
    """

    __slots__ = ("fd", "merged", "parent", "path")

    def __init__(self, fd: int, path: str, parent: Directory | None, merged: bool) -> None:
        self.fd = fd
        self.path = path
        self.parent = parent
        self.merged = merged

    def __del__(self) -> None:
        os.close(self.fd)

    def child_path(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def status(self, name: str) -> os.stat_result | None:
        """lstat(2) of a name in it; None without one."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None


class OnCopyUp(Protocol):
    """Told of each directory that was made, so that its time can be set at the end."""

    def __call__(self, directory: Directory, mtime_ns: int, /) -> None: ...


class Parents:
    """Resolves, makes and remembers the directories that entries belong into."""

    def __init__(
        self,
        upper: int,
        lower: int | None,
        on_copy_up: OnCopyUp,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Borrows both descriptors of directories; ``owner`` gets those that are made, instead of
        this process."""
        self._owner = owner
        self.root = Directory(os.dup(upper), "", None, lower is not None)
        self._lower = lower
        self._on_copy_up = on_copy_up
        self._known: dict[str, Directory] = {}
        self._followed: set[str] = set()

    def of(self, path: str) -> Directory:
        """The directory called ``path`` (from the root, see :func:`clean`), with missing ones made;
        BadArchive if that cannot be."""
        if not path:
            return self.root
        known = self._known.get(path)
        if known is None:
            known = self._resolve(path.split("/"))
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[path] = known
        return known

    def changed(self, directory: Directory, name: str, *, replaced: bool) -> None:
        """Tell that a name has been made; ``replaced`` if a directory or a link was there."""
        if replaced or (self._followed and directory.child_path(name) in self._followed):
            self._known.clear()
            self._followed.clear()

    def open_lower(self, directory: Directory, name: str) -> int | None:
        """An O_PATH descriptor of what the layers below have under a name that overlayfs would
        look at; the caller closes it."""
        if self._lower is None or not directory.merged:
            return None
        try:
            return files.openat2(self._lower, directory.child_path(name), _ANY, 0, _BELOW)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def _resolve(self, components: list[str]) -> Directory:
        waiting = components[::-1]
        here = self.root
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = here.parent or self.root
                continue
            target = self._step(here, name)
            if isinstance(target, Directory):
                here = target
                continue
            links += 1
            if links > _LINKS:
                raise BadArchive(f"the archive has a loop of links at {'/'.join(components)!r}")
            self._followed.add(here.child_path(name))
            if target.startswith("/"):
                here = self.root
            waiting.extend(reversed(target.split("/")))
        return here

    def _step(self, here: Directory, name: str) -> Directory | str:
        """The directory one step down, or the target of the link that is there."""
        try:
            fd = os.open(name, _DIRECTORY, dir_fd=here.fd)
        except FileNotFoundError:
            return self._make(here, name)
        except NotADirectoryError:  # what it is for a link, too
            return self._not_a_directory(here, name)
        return Directory(fd, here.child_path(name), here, self._is_merged(here, fd))

    def _is_merged(self, here: Directory, fd: int) -> bool:
        return here.merged and not is_opaque(fd)

    def _not_a_directory(self, here: Directory, name: str) -> Directory | str:
        status = here.status(name)
        if status is not None and stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=here.fd)
        if status is not None and is_whiteout(status) and self._lower is not None:
            os.unlink(name, dir_fd=here.fd)
            return self.new_directory(here, name, opaque=True)
        raise BadArchive(
            f"the archive puts entries below {here.child_path(name)!r}, which is no directory"
        )

    def _make(self, here: Directory, name: str) -> Directory | str:
        """A directory that is not in upper: copy it up, or make a new one."""
        lower = self.open_lower(here, name)
        if lower is None:
            return self.new_directory(here, name)
        try:
            status = os.fstat(lower)
            if stat.S_ISLNK(status.st_mode):
                return os.readlink("", dir_fd=lower)
            if not stat.S_ISDIR(status.st_mode):
                raise BadArchive(
                    f"the archive puts entries below {here.child_path(name)!r}, "
                    "which is no directory"
                )
            made = self.new_directory(here, name)
            copy_attributes(lower, made.fd, status)
        finally:
            os.close(lower)
        self._on_copy_up(made, status.st_mtime_ns)
        return made

    def new_directory(self, here: Directory, name: str, *, opaque: bool = False) -> Directory:
        """Make a directory in upper, mode 0755; ``opaque`` hides what is below, if anything is."""
        os.mkdir(name, 0o755, dir_fd=here.fd)
        fd = os.open(name, _DIRECTORY, dir_fd=here.fd)
        if self._owner is not None:
            os.fchown(fd, *self._owner)
        directory = Directory(fd, here.child_path(name), here, here.merged and not opaque)
        os.fchmod(fd, 0o755)
        if opaque and here.merged:
            os.setxattr(fd, OPAQUE, b"y")
        return directory

    def existing(self, path: str) -> int | None:
        """A descriptor of a directory that has this name without following links, if there is
        one; the caller closes it."""
        try:
            return files.openat2(self.root.fd, path or ".", _DIRECTORY, 0, _BELOW)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def make_opaque(self, directory: Directory) -> None:
        """Hide what the layers below have in a directory; not for the root."""
        if directory.merged:
            os.setxattr(directory.fd, OPAQUE, b"y")
            directory.merged = False
            self._known.clear()


def is_opaque(fd: int) -> bool:
    """Whether overlayfs hides what is below a directory of a layer (overlayfs.rst, "whiteouts
    and opaque directories")."""
    try:
        return os.getxattr(fd, OPAQUE) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP, errno.EPERM):
            return False
        raise


def copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    """Give ``target`` the owner, mode and extended attributes of ``source``, which may be an
    O_PATH descriptor."""
    attributes.set_owner_and_mode(
        target, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)
    )
    attributes.set_xattrs(target, attributes.carried_xattrs_of_path_fd(source))
