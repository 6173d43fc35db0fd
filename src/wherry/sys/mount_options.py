"""What mount(8) calls the flags of mount(2) that belong to a file system itself, and the ways in
which mounts propagate (mount_namespaces(7))."""

from __future__ import annotations

from wherry.sys import mount as m

SUPERBLOCK: dict[str, tuple[int, int]] = {
    "defaults": (0, 0),
    "sync": (m.MS_SYNCHRONOUS, 0),
    "async": (0, m.MS_SYNCHRONOUS),
    "dirsync": (m.MS_DIRSYNC, 0),
    "mand": (m.MS_MANDLOCK, 0),
    "nomand": (0, m.MS_MANDLOCK),
    "silent": (m.MS_SILENT, 0),
    "loud": (0, m.MS_SILENT),
    "iversion": (m.MS_I_VERSION, 0),
    "noiversion": (0, m.MS_I_VERSION),
    "lazytime": (m.MS_LAZYTIME, 0),
    "nolazytime": (0, m.MS_LAZYTIME),
}
"""Flags to set and to clear."""

PROPAGATION = {
    "private": m.MS_PRIVATE,
    "rprivate": m.MS_PRIVATE | m.MS_REC,
    "shared": m.MS_SHARED,
    "rshared": m.MS_SHARED | m.MS_REC,
    "slave": m.MS_SLAVE,
    "rslave": m.MS_SLAVE | m.MS_REC,
    "unbindable": m.MS_UNBINDABLE,
    "runbindable": m.MS_UNBINDABLE | m.MS_REC,
}
