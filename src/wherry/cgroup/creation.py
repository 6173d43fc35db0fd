"""Making a group of either version, or leaving nothing of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from wherry.errors import Conflict, WherryError
from wherry.model.runtime_spec import LinuxResources

if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    class _Made(Protocol):
        """What is needed here of a group."""

        @property
        def path(self) -> str: ...

        def make(self, resources: LinuxResources) -> None: ...

        def add(self, pid: int) -> None: ...

        def pids(self) -> tuple[int, ...]: ...

        def remove(self) -> None: ...

    G = TypeVar("G", bound=_Made)


def created(make: Callable[[], G], resources: LinuxResources, first: int) -> G:
    """Make a group, once more if an empty one was in the way (a monitor that was killed)."""
    group = make()
    try:
        _make_or_remove(group, resources, first)
    except FileExistsError:
        if group.pids():
            raise Conflict(f"control group {group.path} is in use by other processes") from None
        group.remove()
        _make_or_remove(group, resources, first)
    return group


def _make_or_remove(group: _Made, resources: LinuxResources, first: int) -> None:
    try:
        group.make(resources)
        if first:
            group.add(first)
    except FileExistsError:
        raise
    except BaseException:
        with contextlib.suppress(WherryError, OSError):
            group.remove()
        raise
