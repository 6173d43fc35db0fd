"""Detached clones of what is at a path below another, for mounting it elsewhere.

The tree may belong to somebody hostile who is changing it: every name below the first is resolved
inside it (openat2(2)), and what was found is used by descriptor.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from wherry.sys import mount as m
from wherry.sys.files import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from wherry.sys.overlay import mount_overlay, mount_overlay_at

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def clone_subtree(source: str, subpath: str, flags: int = 0) -> int:
    """A detached clone of ``subpath`` in the directory ``source``; empty: all of it.
    ``AT_RECURSIVE`` as a flag takes along what is mounted below. FileNotFoundError."""
    top = os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = openat2(top, subpath or ".", os.O_PATH, 0, _IN_ROOT)
    finally:
        os.close(top)
    try:
        return m.open_tree(found, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH | flags)
    finally:
        os.close(found)


def clone_layers(layers: Sequence[str], subpath: str, place: int) -> int:
    """A detached mount of directories on each other, topmost first, or of
    ``subpath`` in them. ``place`` as for :func:`clone_below`. FileNotFoundError."""
    if len(layers) == 1:  # overlayfs refuses a single one
        return clone_subtree(layers[0], subpath)
    whole = _mount_layers(layers, place)
    if not subpath:
        return whole
    try:
        return clone_below(whole, subpath, place)
    finally:
        os.close(whole)


def _mount_layers(layers: Sequence[str], place: int) -> int:
    """A detached overlay; before Linux 6.5 it is for a moment mounted on ``place``, whose name is
    good in the mount namespace of this process only, and its own."""
    try:
        return mount_overlay(layers)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    name = os.readlink(f"/proc/self/fd/{place}")
    mount_overlay_at(name, layers)
    try:
        return m.open_tree(m.AT_FDCWD, name, m.OPEN_TREE_CLONE)
    finally:
        m.umount2(name, m.MNT_DETACH)


def clone_below(tree: int, subpath: str, place: int) -> int:
    """A detached clone of ``subpath`` in the detached mount ``tree``.

    Before Linux 6.15 only what is mounted somewhere can be cloned: there it is for a moment mounted
    on ``place``, an O_PATH descriptor of a directory of which no other process takes notice.
    """
    found = openat2(tree, subpath, os.O_PATH, 0, _IN_ROOT)
    try:
        try:
            return _clone(found)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        m.attach(tree, place)
        try:
            return _clone(found)
        finally:
            m.umount2(f"/proc/self/fd/{tree}", m.MNT_DETACH)
    finally:
        os.close(found)


def _clone(fd: int) -> int:
    return m.open_tree(fd, "", m.OPEN_TREE_CLONE | m.AT_EMPTY_PATH)
