"""Operations that build the container's tree of mounts."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from wherry.errors import InvalidArgument, NotFound, NotSupported
from wherry.model.runtime_spec import IdMapping
from wherry.runtime.ops.base import DetachedOp, Op, Setup
from wherry.runtime.ops.foreign import clone_tree
from wherry.runtime.ops.idmap import user_namespace
from wherry.runtime.ops.rooted import make_in, open_in
from wherry.runtime.plan.mount_options import Options
from wherry.sys import mount as m
from wherry.sys.overlay import mount_overlay, mount_overlay_at
from wherry.sys.trees import clone_subtree

if TYPE_CHECKING:
    from wherry.snapshot.api import OverlayMount


class MakeMountsSlave(Op, frozen=True):
    """Cut the new mount namespace off the host's: nothing made here is seen there."""

    flags: int

    def describe(self) -> str:
        return "change how mounts propagate"

    def execute(self, setup: Setup) -> None:
        m.mount("", "/", "", self.flags)


class MakePlacePrivate(Op, frozen=True):
    """Cut off the one mount that a directory lies on. Where mounts are shared with the host the
    container's root would be seen there, and pivot_root(2) would refuse it."""

    path: str

    def describe(self) -> str:
        return f"keep what is mounted on {self.path} in the container"

    def execute(self, setup: Setup) -> None:
        place = os.path.realpath(self.path)
        while not self._make_private(place):
            place = os.path.dirname(place)

    def _make_private(self, place: str) -> bool:
        """False if no mount begins there."""
        try:
            m.mount("", place, "", m.MS_PRIVATE)
        except OSError as error:
            if error.errno != errno.EINVAL or place == "/":
                raise
            return False
        return True


class MountRoot(Op, frozen=True):
    """Mount the container's root on a directory of the bundle."""

    target: str
    overlay: OverlayMount | None

    def describe(self) -> str:
        return f"mount the root file system on {self.target}"

    def execute(self, setup: Setup) -> None:
        mount_root(self.target, self.overlay)
        setup.root_fd = os.open(self.target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def mount_root(target: str, overlay: OverlayMount | None) -> None:
    """Mount an overlay on a directory; without one the directory on itself."""
    if overlay is not None:
        _mount_overlay(target, overlay)
        return
    place = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = m.open_tree(place, "", m.OPEN_TREE_CLONE | m.AT_RECURSIVE | m.AT_EMPTY_PATH)
    m.attach(tree, place)
    os.close(tree)
    os.close(place)


def _mount_overlay(target: str, overlay: OverlayMount) -> None:
    if overlay.upper is None and len(overlay.lower) == 1:
        # A single read-only layer needs no overlay (and overlayfs refuses it).
        tree = m.open_tree(m.AT_FDCWD, overlay.lower[0], m.OPEN_TREE_CLONE)
        m.mount_setattr(tree, "", m.AT_EMPTY_PATH, attr_set=m.MOUNT_ATTR_RDONLY)
    else:
        try:
            tree = mount_overlay(overlay.lower, overlay.upper, overlay.work, label=overlay.label)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENAMETOOLONG):
                raise
            mount_overlay_at(target, overlay.lower, overlay.upper, overlay.work, overlay.label)
            return
    m.attach_at(tree, target)
    os.close(tree)


class MountFilesystem(Op, frozen=True):
    """Mount a file system of the kernel's: proc, tmpfs, devpts, mqueue, sysfs."""

    fstype: str
    source: str
    target: str
    options: Options
    follow: bool = True

    def describe(self) -> str:
        return f"mount {self.fstype} on {self.target}"

    def execute(self, setup: Setup) -> None:
        there = True
        try:
            target = open_in(setup.root_fd, self.target, links=self.follow)
        except FileNotFoundError:
            there = False
            target = make_in(
                setup.root_fd, self.target, directory=True, links=self.follow, created=setup.created
            )
        try:
            m.mount(
                self.source,
                f"/proc/self/fd/{target}",
                self.fstype,
                self._flags(),
                self._data(target) if there else self.options.data,
            )
            self._finish(setup.root_fd, target)
        except OSError as error:
            error.filename = None  # a descriptor's name tells the user nothing
            raise
        finally:
            os.close(target)
        set_propagation(setup.root_fd, self.target, self.options)

    def _flags(self) -> int:
        """What is copied into it needs it writable."""
        flags = self.options.mount_flags
        return flags & ~m.MS_RDONLY if self.options.copy_up else flags

    def _finish(self, root_fd: int, hidden: int) -> None:
        """What can only be done once it is there; the recursive options hold for itself, too."""
        options, change = self.options, self.options.all_set
        if options.copy_up:
            copy_up(hidden, root_fd, self.target)
            change |= options.attr_set & m.MOUNT_ATTR_RDONLY
        if change or options.all_clr:
            mounted = open_in(root_fd, self.target)
            try:
                m.mount_setattr(
                    mounted, "", m.AT_EMPTY_PATH, attr_set=change, attr_clr=options.all_clr
                )
            finally:
                os.close(mounted)

    def _data(self, target: int) -> str:
        """A tmpfs takes the mode of the directory that it hides, unless told otherwise."""
        data = self.options.data
        if self.fstype != "tmpfs" or "mode=" in data:
            return data
        mode = f"mode={stat.S_IMODE(os.fstat(target).st_mode):o}"
        return f"{data},{mode}" if data else mode


class BindMount(DetachedOp, frozen=True):
    """Make a file or directory of the host visible in the container."""

    source: str
    target: str
    options: Options
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    subpath: str = ""

    def describe(self) -> str:
        return f"bind {self._what} on {self.target}"

    @property
    def _what(self) -> str:
        return f"{self.source}/{self.subpath}" if self.subpath else self.source

    def detached(self) -> int:
        """The mount with its options, which nobody sees yet: a descriptor."""
        flags = m.OPEN_TREE_CLONE | (m.AT_RECURSIVE if self.options.recursive else 0)
        try:
            if self.subpath:
                tree = clone_subtree(self.source, self.subpath, flags & m.AT_RECURSIVE)
            else:
                tree = clone_tree(self.source, flags)
        except FileNotFoundError:
            raise NotFound(f"bind source path does not exist: {self._what}") from None
        try:
            self._change(tree)
        except BaseException:
            os.close(tree)
            raise
        return tree

    def execute(self, setup: Setup) -> None:
        tree = setup.prepared.trees.pop(self, None)
        tree = self.detached() if tree is None else tree
        try:
            directory = stat.S_ISDIR(os.fstat(tree).st_mode)
            target = make_in(setup.root_fd, self.target, directory=directory, created=setup.created)
            try:
                self._check_kinds(directory, target)
                m.attach(tree, target)
            finally:
                os.close(target)
        finally:
            os.close(tree)

    def _check_kinds(self, directory: bool, target: int) -> None:
        if directory != stat.S_ISDIR(os.fstat(target).st_mode):
            raise InvalidArgument(
                f"cannot bind {self.source} on {self.target}: one is a directory and the other "
                "is a file; mount a file on a file and a directory on a directory"
            )

    def _change(self, tree: int) -> None:
        """Apply the options to the detached tree, before anybody can see it."""
        options, here = self.options, m.AT_EMPTY_PATH
        below = here | m.AT_RECURSIVE
        try:
            if options.attr_set or options.attr_clr:
                m.mount_setattr(
                    tree, "", here, attr_set=options.attr_set, attr_clr=options.attr_clr
                )
            if options.all_set or options.all_clr:
                m.mount_setattr(tree, "", below, attr_set=options.all_set, attr_clr=options.all_clr)
            if self.uid_mappings or self.gid_mappings:
                self._map_ids(tree)
            for flags in options.propagation or (m.MS_PRIVATE | m.MS_REC,):
                where = below if flags & m.MS_REC else here
                m.mount_setattr(tree, "", where, propagation=flags & ~m.MS_REC)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise NotSupported(
                    f"cannot bind {self.source} on {self.target}: this kernel cannot change the "
                    "options of a detached mount, which needs Linux 5.12"
                ) from None
            raise

    def _map_ids(self, tree: int) -> None:
        userns = user_namespace(self.uid_mappings, self.gid_mappings)
        try:
            flags = m.AT_EMPTY_PATH | (m.AT_RECURSIVE if self.options.idmap_recursive else 0)
            m.mount_setattr(tree, "", flags, attr_set=m.MOUNT_ATTR_IDMAP, userns_fd=userns)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            raise NotSupported(
                f"cannot map the owners of {self._what}: its file system, or this kernel, has no "
                "id-mapped mounts"
            ) from None
        finally:
            os.close(userns)


class Remount(Op, frozen=True):
    """Change the options of a mount that an earlier operation made."""

    target: str
    options: Options

    def describe(self) -> str:
        return f"remount {self.target}"

    def execute(self, setup: Setup) -> None:
        target = open_in(setup.root_fd, self.target)
        try:
            options = self.options
            m.mount_setattr(
                target, "", m.AT_EMPTY_PATH, attr_set=options.attr_set, attr_clr=options.attr_clr
            )
            if options.all_set or options.all_clr:
                below = m.AT_EMPTY_PATH | m.AT_RECURSIVE
                m.mount_setattr(
                    target, "", below, attr_set=options.all_set, attr_clr=options.all_clr
                )
        finally:
            os.close(target)
        set_propagation(setup.root_fd, self.target, options)


class MaskPath(Op, frozen=True):
    """Hide a file behind /dev/null, or a directory behind an empty read-only one."""

    path: str

    def describe(self) -> str:
        return f"mask {self.path}"

    def execute(self, setup: Setup) -> None:
        try:
            target = open_in(setup.root_fd, self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            if stat.S_ISDIR(os.fstat(target).st_mode):
                m.mount("tmpfs", f"/proc/self/fd/{target}", "tmpfs", m.MS_RDONLY, "size=0k")
            else:
                self._hide_file(target)
        finally:
            os.close(target)

    def _hide_file(self, target: int) -> None:
        # The host's own /dev/null, checked by descriptor: a link or another device in its place
        # would give the container something that it can write to (CVE-2025-31133). Read-only, so
        # that the container's root cannot change its mode and owner, which are the host's, too.
        tree = m.open_tree(m.AT_FDCWD, "/dev/null", m.OPEN_TREE_CLONE | m.AT_SYMLINK_NOFOLLOW)
        try:
            found = os.fstat(tree)
            if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
                raise OSError(errno.EINVAL, "the host's /dev/null is not the null device")
            m.mount_setattr(
                tree,
                "",
                m.AT_EMPTY_PATH,
                attr_set=m.MOUNT_ATTR_RDONLY | m.MOUNT_ATTR_NOSUID | m.MOUNT_ATTR_NOEXEC,
                propagation=m.MS_PRIVATE,
            )
            m.attach(tree, target)
        finally:
            os.close(tree)


class ReadOnlyPath(Op, frozen=True):
    """Make what is at a path read-only, by a mount of it on itself."""

    path: str

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def execute(self, setup: Setup) -> None:
        try:
            target = open_in(setup.root_fd, self.path)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            flags = m.OPEN_TREE_CLONE | m.AT_RECURSIVE | m.AT_EMPTY_PATH
            tree = m.open_tree(target, "", flags)
            m.mount_setattr(
                tree, "", m.AT_EMPTY_PATH | m.AT_RECURSIVE, attr_set=m.MOUNT_ATTR_RDONLY
            )
            m.attach(tree, target)
            os.close(tree)
        finally:
            os.close(target)


class PivotRoot(Op, frozen=True):
    """Make the container's root the root, and let go of the host's (pivot_root(2), NOTES)."""

    def describe(self) -> str:
        return "enter the container's root file system"

    def execute(self, setup: Setup) -> None:
        os.fchdir(setup.root_fd)
        old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        m.pivot_root(".", ".")
        os.fchdir(old_root)
        # Not even an unmount may travel back to the host.
        m.mount("", ".", "", m.MS_SLAVE | m.MS_REC)
        m.umount2(".", m.MNT_DETACH)
        os.chdir("/")
        os.close(old_root)


class FinishRoot(Op, frozen=True):
    """Give the root mount its final options."""

    readonly: bool
    propagation: int

    def describe(self) -> str:
        return "set the options of the root file system"

    def execute(self, setup: Setup) -> None:
        if self.propagation:
            m.mount("", "/", "", self.propagation)
        if self.readonly:
            m.mount_setattr(m.AT_FDCWD, "/", 0, attr_set=m.MOUNT_ATTR_RDONLY)


def set_propagation(root_fd: int, path: str, options: Options) -> None:
    """Apply propagation flags to the mount that is now at ``path``."""
    for flags in options.propagation:
        target = open_in(root_fd, path)
        try:
            m.mount("", f"/proc/self/fd/{target}", "", flags)
        finally:
            os.close(target)


def copy_up(hidden_fd: int, root_fd: int, path: str) -> None:
    """Copy what a fresh tmpfs at ``path`` hides into it; ``hidden_fd`` is the directory below."""
    mounted = open_in(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _copy_directory(hidden_fd, mounted)
    finally:
        os.close(mounted)


def _copy_directory(source: int, target: int) -> None:
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(reading):
            _copy_entry(reading, target, name)
    finally:
        os.close(reading)


def _copy_entry(source: int, target: int, name: str) -> None:
    found = os.lstat(name, dir_fd=source)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        below, made = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
        try:
            _copy_directory(below, made)
        finally:
            os.close(below)
            os.close(made)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(source, target, name)
    else:
        os.mknod(name, found.st_mode, found.st_rdev, dir_fd=target)
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
        times = (found.st_atime_ns, found.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    made = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    reader = os.open(name, flags, dir_fd=source)
    writer = os.open(name, made, 0o600, dir_fd=target)
    try:
        while os.sendfile(writer, reader, None, 1 << 20):
            pass
    finally:
        os.close(reader)
        os.close(writer)
