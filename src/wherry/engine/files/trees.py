"""The files of a container, running or not, by descriptor.

A running container's are behind ``/proc/PID/root``, as its processes see them. For one that does
not run its tree is put together in a mount namespace of its own: the writable layer, and the
volumes and binds on it. Nothing is mounted where anybody else could see it, and all of it is gone
when the descriptors are closed.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import msgspec

from wherry.engine.containers.launch import Launcher
from wherry.engine.host.user_namespaces import users_in
from wherry.engine.ids import new_id
from wherry.engine.mounts.sources import MountSources
from wherry.engine.records import Container, MountPoint
from wherry.engine.settings import EngineSettings
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InternalError, NotFound, WherryError
from wherry.fs.root import Root
from wherry.snapshot.api import OverlayMount, Snapshotter
from wherry.sys import mount as mounting
from wherry.sys import namespaces
from wherry.sys.overlay import mount_overlay, mount_overlay_at
from wherry.sys.trees import clone_layers, clone_subtree

T = TypeVar("T")

# Any directories serve, which are covered in the private namespace only: one with the tree, one
# with layers for the moment in which they are cloned.
_PLACE, _MOMENTS_PLACE = "/proc", "/sys"
_NAME_FILES = ("hosts", "hostname", "resolv.conf")
_CLONE_FS = 0x200  # clone(2)
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class ContainerTrees:
    """Opens the trees of containers. The start of a container waits while its tree is open."""

    def __init__(
        self,
        settings: EngineSettings,
        table: ContainerTable,
        launcher: Launcher,
        snapshots: Snapshotter,
        sources: MountSources,
    ) -> None:
        self._settings = settings
        self._table = table
        self._launcher = launcher
        self._snapshots = snapshots
        self._sources = sources

    @contextmanager
    def with_mounts(self, entry: Entry) -> Iterator[Root]:
        """The tree with the container's volumes and binds. InternalError if it cannot be had."""
        with ExitStack() as held:
            held.enter_context(entry.tree)
            if entry.process is None:
                yield held.enter_context(self._stopped(entry))
                return
            with self._process(entry.record) as process:
                root = Root(os.open("root", _PATH, dir_fd=process), users_in(process))
            held.close()
            with root:
                yield root

    @contextmanager
    def without_mounts(self, entry: Entry) -> Iterator[Root]:
        """The writable layer on its image, and nothing that is mounted on it."""
        with ExitStack() as held:
            held.enter_context(entry.tree)
            if entry.process is None:
                with Root(self._snapshots.open_root(entry.id)) as root:
                    yield root
                return
            with self._process(entry.record) as process:
                root = Root(_in_thread(lambda: _clone_root(process)), users_in(process))
            held.close()
            with root:
                yield root

    @contextmanager
    def _process(self, record: Container) -> Iterator[int]:
        """The directory in /proc of the container's init. The descriptor stays that process's
        when its number is used again; before it was opened, the control group tells."""
        try:
            process = os.open(f"/proc/{record.state.pid}", _PATH)
        except FileNotFoundError:
            raise _not_running(record) from None
        try:
            if record.state.pid not in self._launcher.cgroup(record).pids():
                raise _not_running(record)
            yield process
        except (FileNotFoundError, ProcessLookupError, NotFound) as error:
            raise _not_running(record) from error
        finally:
            os.close(process)

    @contextmanager
    def _stopped(self, entry: Entry) -> Iterator[Root]:
        user = f"files-{new_id()}"
        record = self._sources.open(entry.record, user)
        try:
            with self._assembled(entry, record) as root:
                yield root
        finally:
            self._sources.close(user)

    @contextmanager
    def _assembled(self, entry: Entry, record: Container) -> Iterator[Root]:
        mounts = [mount for mount in record.mounts if mount.type != "tmpfs"]
        mounts += self._name_files(record)
        overlay = self._snapshots.mounts(record.id)
        try:
            made = _in_thread(lambda: _Assembly(overlay, record.host.readonly_rootfs).make(mounts))
        except OSError as error:
            raise InternalError(
                f"cannot put the files of container {record.name} together: {error}"
            ) from error
        self._note_mountpoints(entry, made.created)
        try:
            with Root(made.root) as root:
                yield root
        finally:
            os.close(made.namespace)

    def _name_files(self, record: Container) -> Iterator[MountPoint]:
        """/etc/hosts and the others as the last start wrote them."""
        directory = self._settings.container_dir(record.id)
        taken = {mount.destination for mount in record.mounts}
        for name in _NAME_FILES:
            source, destination = os.path.join(directory, name), f"/etc/{name}"
            if destination not in taken and os.path.isfile(source):
                yield MountPoint(type="bind", source=source, destination=destination)

    def _note_mountpoints(self, entry: Entry, created: tuple[str, ...]) -> None:
        """As after a start: a diff leaves them out."""
        if created:
            known = (*entry.record.created_mountpoints, *created)
            with entry.lock:
                record = msgspec.structs.replace(entry.record, created_mountpoints=known)
                self._table.save(entry, record)


def _not_running(record: Container) -> Conflict:
    return Conflict(f"container {record.id} is not running")


def _in_thread(work: Callable[[], T]) -> T:
    """Do something in a thread of its own, whose namespaces may be changed: it ends with it."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except (OSError, WherryError) as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="container-tree")
    thread.start()
    thread.join()
    return done.result(0)


def _clone_root(process: int) -> int:
    """The mount that is a process's root, alone and detached. In a thread of its own."""
    root = os.open("root", _PATH, dir_fd=process)
    namespace = os.open("ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        namespaces.unshare(_CLONE_FS)
        namespaces.setns(namespace, namespaces.CLONE_NEWNS)
        flags = mounting.OPEN_TREE_CLONE | mounting.AT_EMPTY_PATH
        clone = mounting.open_tree(root, "", flags)
    finally:
        os.close(root)
        os.close(namespace)
    try:
        return os.open(".", _READ, dir_fd=clone)
    finally:
        os.close(clone)


class _Made(msgspec.Struct, frozen=True):
    """``namespace`` keeps the mounts on ``root`` alive. Both are the caller's to close."""

    root: int
    namespace: int
    created: tuple[str, ...]


class _Assembly:
    """Puts a tree together in a new mount namespace. In a thread of its own."""

    def __init__(self, overlay: OverlayMount, read_only: bool) -> None:
        self._overlay = overlay
        self._read_only = read_only
        self._created: list[str] = []

    def make(self, mounts: list[MountPoint]) -> _Made:
        with ExitStack() as undo:
            namespaces.unshare(namespaces.CLONE_NEWNS)  # implies CLONE_FS
            namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, namespace)
            mounting.mount("none", "/", "", mounting.MS_REC | mounting.MS_PRIVATE)
            with ExitStack() as used:
                # By depth, so that one mount may be in another; and all before the tree covers
                # what they are found by.
                ordered = sorted(mounts, key=lambda mount: mount.destination.count("/"))
                sources = [used.enter_context(_source(mount)) for mount in ordered]
                _mount_at(_PLACE, self._overlay)
                root = Root(os.open(_PLACE, _PATH))
                undo.callback(root.close)
                for mount, source in zip(ordered, sources, strict=True):
                    self._attach(root, mount, source)
            if self._read_only:
                _make_read_only(root.fd, 0)
            undo.pop_all()
            return _Made(root.fd, namespace, tuple(self._created))

    def _attach(self, root: Root, mount: MountPoint, source: int) -> None:
        self._make_mountpoint(root, mount, stat.S_ISDIR(os.fstat(source).st_mode))
        target = root.open(mount.destination, os.O_PATH)
        try:
            mounting.attach(source, target)
        finally:
            os.close(target)

    def _make_mountpoint(self, root: Root, mount: MountPoint, directory: bool) -> None:
        """What a start would make, too: directories, and an empty file for a file's bind."""
        if root.exists(mount.destination):
            return
        parts = mount.destination.strip("/").split("/")
        above = ["/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        self._created += [path for path in above if not root.exists(path)]
        if directory:
            root.makedirs(mount.destination)
            return
        root.makedirs(os.path.dirname(mount.destination))
        os.close(root.open(mount.destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


@contextmanager
def _source(mount: MountPoint) -> Iterator[int]:
    """A detached mount of what is to be seen there."""
    recursive = mounting.AT_RECURSIVE if mount.recursive else 0
    source = _clone_source(mount, recursive)
    try:
        if not mount.rw:
            _make_read_only(source, recursive)
        yield source
    finally:
        os.close(source)


def _clone_source(mount: MountPoint, recursive: int) -> int:
    if not mount.layers:
        source, inside = mount.looked_up
        if inside:
            return clone_subtree(source, inside, recursive)
        flags = mounting.OPEN_TREE_CLONE | recursive
        return mounting.open_tree(mounting.AT_FDCWD, mount.source, flags)
    place = os.open(_MOMENTS_PLACE, _PATH)
    try:
        return clone_layers(mount.layers, mount.subpath, place)
    finally:
        os.close(place)


def _mount_at(target: str, overlay: OverlayMount) -> None:
    try:
        detached = mount_overlay(overlay.lower, overlay.upper, overlay.work)
    except OSError:  # before Linux 6.5
        mount_overlay_at(target, overlay.lower, overlay.upper, overlay.work)
        return
    place = os.open(target, _PATH)
    try:
        mounting.attach(detached, place)
    finally:
        os.close(place)
        os.close(detached)


def _make_read_only(mount: int, flags: int) -> None:
    mounting.mount_setattr(
        mount, "", flags | mounting.AT_EMPTY_PATH, attr_set=mounting.MOUNT_ATTR_RDONLY
    )
