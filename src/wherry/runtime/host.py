"""What the launcher finds out once about the machine."""

from __future__ import annotations

import msgspec

from wherry.cgroup import open_cgroups
from wherry.cgroup.api import Cgroups
from wherry.cgroup.mounts import read_layout
from wherry.runtime.plan.planning import CgroupLayout, Filters
from wherry.runtime.state import boot_id

CGROUPS = "/sys/fs/cgroup"


class Host(msgspec.Struct, frozen=True):
    cgroups: Cgroups
    layout: CgroupLayout
    boot_id: str
    filters: Filters


def find_host(*, systemd: bool = False) -> Host:
    """Look at the machine; NotSupported if it has no control groups, or none that ``systemd``
    makes where it is asked to."""
    found = read_layout(CGROUPS)
    layout = CgroupLayout(found.mode == "unified", tuple(one.mountpoint for one in found.legacy))
    cgroups = open_cgroups(CGROUPS)
    if systemd:
        from wherry.cgroup.systemd import check_systemd  # few are asked to

        check_systemd(cgroups)
        layout = msgspec.structs.replace(layout, systemd=True)
    return Host(cgroups, layout, boot_id(), Filters())
