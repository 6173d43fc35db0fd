"""Files below a container's root, by descriptor.

The tree belongs to the container and may be hostile: links that lead outside, names that change
while they are looked at. The kernel resolves every name inside the root (openat2(2),
RESOLVE_IN_ROOT) and what it found is used by descriptor, never by name again.
"""

from __future__ import annotations

import errno
import os
import stat

from wherry.sys.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_MAX_LINKS = 40


def open_in(root_fd: int, path: str, flags: int = os.O_PATH, *, links: bool = True) -> int:
    """Open a file below ``root_fd``; ``links=False`` refuses symbolic links anywhere in it."""
    resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
    if not links:
        resolve |= RESOLVE_NO_SYMLINKS
    return openat2(root_fd, path.lstrip("/") or ".", flags, 0, resolve)


def make_in(
    root_fd: int, path: str, *, directory: bool, links: bool = True, created: list[str]
) -> int:
    """Open a file or directory for mounting on it (O_PATH), making what is missing.

    Everything that was made in the root's own file system is added to ``created`` by its absolute
    name in the container.
    """
    try:
        return open_in(root_fd, path, links=links)
    except FileNotFoundError:
        pass
    for _ in range(_MAX_LINKS):
        followed = _make_missing(root_fd, path, directory, created)
        if followed is None:
            return open_in(root_fd, path, links=links)
        if not links:
            break
        path = followed
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _make_missing(root_fd: int, path: str, directory: bool, created: list[str]) -> str | None:
    """Make what ``path`` lacks; or, at a dangling link, return the path that it leads to."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for count in range(1, len(parts) + 1):
        prefix = "/".join(parts[:count])
        try:
            os.close(open_in(root_fd, prefix))
            continue
        except FileNotFoundError:
            pass
        parent = open_in(root_fd, "/".join(parts[: count - 1]), os.O_PATH | os.O_DIRECTORY)
        try:
            last = count == len(parts)
            if not _make_one(parent, parts[count - 1], directory or not last):
                target = os.readlink(parts[count - 1], dir_fd=parent)
                base = [] if target.startswith("/") else parts[: count - 1]
                return "/".join([*base, target, *parts[count:]])
            _record(root_fd, parent, parts[count - 1], created)
        finally:
            os.close(parent)
    return None


def _make_one(parent_fd: int, name: str, directory: bool) -> bool:
    """Make one directory or empty file; False if a dangling link is in its place."""
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent_fd)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent_fd))
    except FileExistsError:
        return not stat.S_ISLNK(os.lstat(name, dir_fd=parent_fd).st_mode)
    return True


def _record(root_fd: int, parent_fd: int, name: str, created: list[str]) -> None:
    if os.fstat(parent_fd).st_dev != os.fstat(root_fd).st_dev:
        return  # on something mounted, so not in the writable layer
    root = os.readlink(f"/proc/self/fd/{root_fd}")
    parent = os.readlink(f"/proc/self/fd/{parent_fd}")
    created.append(f"{parent[len(root) :] if root != '/' else parent}".rstrip("/") + "/" + name)
