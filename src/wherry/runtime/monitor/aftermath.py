"""What a monitor does with the rest of a container when its first process has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from wherry.cgroup.api import Cgroup, Cgroups
from wherry.errors import WherryError
from wherry.runtime.hooks import try_hooks
from wherry.runtime.messages import Keep

T = TypeVar("T")


def end_processes(keep: Keep, cgroups: Cgroups) -> bool:
    """End what is left in the group; returns whether the kernel killed one of it for memory, as
    long as the group is there: systemd removes a scope that is empty."""

    def end(group: Cgroup) -> bool:
        oom_killed = group.oom_kills() > 0
        if not keep.alone:
            group.kill()
        return oom_killed

    return bool(_with_group(keep, cgroups, end))


def remove_group(keep: Keep, cgroups: Cgroups) -> None:
    """Remove the group, in which nothing is left."""
    _with_group(keep, cgroups, lambda group: group.remove())


def _with_group(keep: Keep, cgroups: Cgroups, action: Callable[[Cgroup], T]) -> T | None:
    """Do something with the container's group, if it has one that is still there."""
    if not keep.cgroup:
        return None
    try:
        return action(cgroups.open(keep.cgroup))
    except (OSError, WherryError):
        return None


def run_poststop(keep: Keep) -> None:
    """Run the last hooks; one that fails changes nothing (runtime.md, "Lifecycle" 13)."""
    if keep.poststop:
        try_hooks(keep.poststop, msgspec.structs.replace(keep.state, status="stopped"), "poststop")
