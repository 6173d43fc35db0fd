"""What the launcher finds out once about the machine."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from wherry.cgroup import open_cgroups
from wherry.cgroup.host import find_layout
from wherry.errors import WherryError
from wherry.runtime.plan.planning import CgroupLayout, Filters
from wherry.runtime.state import boot_id

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroups

CGROUPS = "/sys/fs/cgroup"


_OWN_GROUPS = "/proc/self/cgroup"


class Host(msgspec.Struct, frozen=True):
    cgroups: Cgroups
    layout: CgroupLayout
    boot_id: str
    filters: Filters


def find_host(*, systemd: bool = False, beside: bool = True) -> Host:
    """Look at the machine; NotSupported if it has no control groups, or none that ``systemd``
    makes where it is asked to. ``beside``: on a hybrid host containers get into a group of version
    2, too."""
    found = find_layout(CGROUPS)
    layout = CgroupLayout(
        unified=found.mode == "unified",
        legacy=tuple(one.mountpoint for one in found.legacy),
        beside=beside and found.mode == "hybrid",
    )
    cgroups = open_cgroups(CGROUPS)
    if systemd:
        from wherry.cgroup.systemd import check_systemd  # few are asked to

        check_systemd(cgroups)
        layout = msgspec.structs.replace(layout, systemd=True)
    return Host(cgroups, layout, boot_id(), Filters())


def look_at_groups() -> None:
    """Import what a host's control groups need, whichever it has; if none, that is told by who
    needs some."""
    with suppress(WherryError, OSError):
        open_cgroups(CGROUPS)


def is_in_version_2() -> bool:
    """Whether this process is in a group of version 2 other than the root (cgroups(7)). On a hybrid
    host only then somebody manages processes by that tree, as systemd does, and those of containers
    are to be found in groups of their own rather than in the engine's."""
    with open(_OWN_GROUPS, encoding="utf-8", errors="surrogateescape") as file:
        return any(line.startswith("0::") and line != "0::/\n" for line in file)
