"""Mounting overlayfs (kernel documentation, filesystems/overlayfs.rst)."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from itertools import takewhile

from wherry.sys import mount as m

_RELEASE = tuple(
    int("".join(takewhile(str.isdigit, part)) or 0) for part in os.uname().release.split(".")[:2]
)
_ONE_BY_ONE = (6, 5)


def mount_overlay(
    lower: Sequence[str],
    upper: str | None = None,
    work: str | None = None,
    attributes: int = 0,
    label: str = "",
) -> int:
    """Mount an overlay and return a descriptor of the detached mount.

    ``lower`` holds directories, topmost first; without ``upper`` and ``work`` the tree is
    read-only. ``attributes`` are ``MOUNT_ATTR_*``; ``label`` is SELinux's for all files. Since
    Linux 6.5 each layer is passed on its own (``lowerdir+``), so neither their number nor the
    length of their names meets the limit of a page; older kernels raise OSError EINVAL, and
    :func:`mount_overlay_at` serves there.
    """
    if _RELEASE < _ONE_BY_ONE:  # asking would put a line into the kernel's log at each mount
        raise OSError(errno.EINVAL, "this kernel does not take layers one by one")
    context = m.fsopen("overlay")
    try:
        for directory in lower:
            m.fsconfig_string(context, "lowerdir+", _short(directory))
        if upper is not None and work is not None:
            m.fsconfig_string(context, "upperdir", _short(upper))
            m.fsconfig_string(context, "workdir", _short(work))
        if label:
            m.fsconfig_string(context, "context", label)
        m.fsconfig_create(context)
        return m.fsmount(context, attributes)
    finally:
        os.close(context)


def mount_overlay_at(
    target: str,
    lower: Sequence[str],
    upper: str | None = None,
    work: str | None = None,
    label: str = "",
) -> None:
    """Mount an overlay with mount(2), whose options must fit into a page (4096 bytes).

    To stay below that the directories are written relative to the deepest one that they share,
    which becomes the working directory for the moment: only for a process with one thread.
    """
    directories = [*lower, *([upper, work] if upper and work else [])]
    base = os.path.commonpath([os.path.dirname(path) for path in directories])
    options = "lowerdir=" + ":".join(_escape(os.path.relpath(path, base)) for path in lower)
    if upper is not None and work is not None:
        options += f",upperdir={_escape(os.path.relpath(upper, base))}"
        options += f",workdir={_escape(os.path.relpath(work, base))}"
    if label:
        options += f',context="{label}"'  # in quotes, because of its commas
    if len(os.fsencode(options)) >= 4096:
        raise OSError(errno.E2BIG, "too many layers for this kernel's mount(2)", target)
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(base)
        m.mount("overlay", target, "overlay", m.MS_RDONLY if upper is None else 0, options)
    finally:
        os.fchdir(before)
        os.close(before)


def _short(path: str) -> str:
    """fsconfig(2) takes at most 255 bytes of text."""
    if len(os.fsencode(path)) > 255:
        raise OSError(errno.ENAMETOOLONG, "the name of a layer's directory is too long", path)
    return path


def _escape(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
