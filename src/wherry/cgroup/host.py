"""The control groups of this host, whichever versions it has."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from wherry.cgroup.mounts import read_layout

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroups

find_layout = cache(read_layout)
"""Where the trees are, looked up once; see :func:`wherry.cgroup.mounts.read_layout`."""


@cache
def open_cgroups(root: str = "/sys/fs/cgroup") -> Cgroups:
    """The control groups mounted at or below ``root``; NotSupported if there are none.

    The result holds one descriptor for each tree as long as the process lives. Of the two
    implementations only the one that is needed is imported.
    """
    layout = find_layout(root)
    if layout.mode == "unified":
        from wherry.cgroup.unified import UnifiedCgroups

        return UnifiedCgroups(layout)
    from wherry.cgroup.legacy import LegacyCgroups

    return LegacyCgroups(layout)
