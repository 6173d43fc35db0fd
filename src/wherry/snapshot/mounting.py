"""Mount an overlay where nobody sees it, and find out whether a machine can."""

from __future__ import annotations

import errno
import os
import tempfile
import threading

from wherry.errors import NotSupported
from wherry.fs.remove import remove_tree
from wherry.snapshot.api import OverlayMount
from wherry.sys import mount as mounting
from wherry.sys import namespaces
from wherry.sys.overlay import mount_overlay, mount_overlay_at


def mount_detached(mount: OverlayMount) -> int:
    """A descriptor of the mounted tree; the mount ends with it. OSError."""
    fd = _mount(mount)
    try:
        # What fsmount(2) gives is an O_PATH descriptor, which cannot be read.
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    finally:
        os.close(fd)


def _mount(mount: OverlayMount) -> int:
    try:
        return mount_overlay(mount.lower, mount.upper, mount.work)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _mount_in_thread(mount)  # before Linux 6.5


def _mount_in_thread(mount: OverlayMount) -> int:
    """The same with mount(2), inside a mount namespace and with a working directory that belong
    to one thread and end with it."""
    result: list[int | OSError] = []

    def run() -> None:
        try:
            result.append(_mount_privately(mount))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=run, name="overlay-mount")
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _mount_privately(mount: OverlayMount) -> int:
    namespaces.unshare(namespaces.CLONE_NEWNS)  # implies CLONE_FS
    mounting.mount("none", "/", "", mounting.MS_REC | mounting.MS_PRIVATE)
    target = "/proc"  # any directory serves, it is only covered in here
    mount_overlay_at(target, mount.lower, mount.upper, mount.work)
    return os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def check_overlay(directory: str) -> None:
    """NotSupported, with the reason, if overlayfs cannot keep snapshots below ``directory``."""
    scratch = tempfile.mkdtemp(prefix="check-", dir=directory)
    try:
        _try_overlay(scratch)
    except OSError as error:
        raise NotSupported(_reason(directory, error)) from error
    finally:
        remove_tree(scratch)


def _try_overlay(scratch: str) -> None:
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{scratch}/{name}")
    os.mkdir(f"{scratch}/lower/gone")
    mount = OverlayMount(
        lower=(f"{scratch}/lower",), upper=f"{scratch}/upper", work=f"{scratch}/work"
    )
    fd = mount_detached(mount)
    try:
        os.rmdir("gone", dir_fd=fd)  # leaves a whiteout
        os.mkdir("gone", dir_fd=fd)  # makes it opaque, in an xattr
    finally:
        os.close(fd)


def _reason(directory: str, error: OSError) -> str:
    if error.errno == errno.ENODEV:
        return "this kernel has no overlayfs: load the module `overlay`, or use another kernel"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"overlayfs cannot be mounted on {directory}: this needs root ({error.strerror})"
    return (
        f"overlayfs cannot keep its layers in {directory} ({error.strerror}): choose a data root "
        "on a file system such as ext4, xfs or btrfs, that is no overlay itself"
    )
