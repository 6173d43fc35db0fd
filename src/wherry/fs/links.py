"""Links in a path, followed by us where the kernel refuses to.

With the sysctl ``fs.protected_symlinks``, which systemd sets, no process follows a link in a sticky
directory that all may write to, unless the link is its own or the directory's owner's (proc(5)).
That protects programs of the host from links that others plant in /tmp. For who looks into the
tree of a container and can not leave it, it would hide what users of the container have there.
"""

from __future__ import annotations

import errno
import os
import stat

from wherry.sys import files

_IN_ROOT = files.RESOLVE_IN_ROOT | files.RESOLVE_NO_MAGICLINKS
_LOOK = os.O_PATH | os.O_NOFOLLOW
_MOST_LINKS = 40  # path_resolution(7)


def without_links(root: int, path: str, *, last: bool) -> str:
    """``path``, from the directory ``root`` as the root, by the names that its links lead to; the
    ``last`` one is followed if that is said. What does not exist is left as it is named.

    OSError with ELOOP for more than forty links. The result is to be opened below the root like
    any other name: it may be changed at any time.
    """
    last = last or path.endswith("/")
    done: list[str] = []
    todo = _names(path)
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            del done[-1:]
            continue
        text = _link(root, "/".join([*done, name])) if todo or last else ""
        if not text:
            done.append(name)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if text.startswith("/"):
            done.clear()
        todo += _names(text)
    return "/".join(done or ["."]) + ("/" if path.endswith("/") else "")


def _names(path: str) -> list[str]:
    """The components, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _link(root: int, path: str) -> str:
    """What a link says; empty for anything else."""
    try:
        fd = files.openat2(root, path, _LOOK, 0, _IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        is_link = stat.S_ISLNK(os.fstat(fd).st_mode)
        return os.readlink("", dir_fd=fd) if is_link else ""
    finally:
        os.close(fd)
