"""The control groups of containers: ours below one of our own, or scopes that systemd makes."""

from __future__ import annotations

import os

from wherry.cgroup.scopes import PREFIX, SYSTEM_SLICE, parse_scope, slice_path
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument


def asked_group(settings: EngineSettings, parent: str, container_id: str) -> str:
    """``cgroupsPath`` of a container's specification; ``parent`` is what its creator asked for,
    from the hierarchies' roots whether or not it begins with a slash."""
    if settings.systemd_cgroups:
        return f"{parent or settings.cgroup_parent or SYSTEM_SLICE}:{PREFIX}:{container_id}"
    return os.path.join("/", parent or settings.cgroup_root, container_id)


def group_path(settings: EngineSettings, parent: str, container_id: str) -> str:
    """Where that group is, relative to the hierarchies' roots."""
    asked = asked_group(settings, parent, container_id)
    return parse_scope(asked, container_id).path if settings.systemd_cgroups else asked


def check_parent(settings: EngineSettings, parent: str) -> None:
    """InvalidArgument if the parent that a container asks for is none for this driver."""
    if settings.systemd_cgroups:
        slice_path(parent or SYSTEM_SLICE)
    elif ".." in parent.split("/"):
        raise InvalidArgument(f"invalid cgroup parent: {parent} leaves the hierarchy")
