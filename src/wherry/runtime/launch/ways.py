"""How a plan comes to life: by our own code, or by another runtime's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from wherry.runtime.host import Host
from wherry.runtime.launch.spawn import Child, Group, handshake, spawn
from wherry.runtime.plan.planning import Plan


class Passed(msgspec.Struct, frozen=True):
    """The descriptors of a request, told apart."""

    client: tuple[int, ...] = ()  # attached from the start; one or none
    netns: int | None = None
    held: tuple[int, ...] = ()
    container: int | None = None  # pidfd of the container that an exec goes into


class Begun(Protocol):
    """A process that a way has begun."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int: ...

    @property
    def master_fd(self) -> int | None: ...

    @property
    def created_mountpoints(self) -> tuple[str, ...]: ...


C = TypeVar("C", bound=Begun)
T = TypeVar("T")


class Way(Protocol[C]):
    """How a plan comes to life: by our own code, or by another runtime's."""

    @property
    def kill(self) -> tuple[str, ...]:
        """The command that sends the signal whose number follows it; empty: kill(2) does."""
        ...

    def begin(self, stdio: tuple[int, int, int] | None, directory: int) -> C:
        """Make the process; ``directory`` is the state directory."""
        ...

    def complete(self, child: C, meanwhile: Callable[[], T]) -> T:
        """Go on until its program is executed; after an error nothing is left."""
        ...

    def abandon(self, child: C) -> None:
        """End it after all."""
        ...


class ReadyWay:
    """One that was held ready sets itself up, see :mod:`wherry.runtime.launch.ready`."""

    kill = ()

    def __init__(self, plan: Plan, init: Child, host: Host) -> None:
        self._plan = plan
        self._init = init
        self._group = Group(host.cgroups, plan, existing=False)
        self._stdio: tuple[int, ...] = ()

    def begin(self, stdio: tuple[int, int, int] | None, directory: int) -> Child:
        """See :class:`Way`."""
        self._stdio = stdio or ()
        return self._init

    def complete(self, child: Child, meanwhile: Callable[[], T]) -> T:
        """See :class:`Way`."""
        return handshake(
            self._plan, child, self._group, unified=False, meanwhile=meanwhile, stdio=self._stdio
        )

    def abandon(self, child: Child) -> None:
        """See :class:`Way`."""
        child.kill()
        self._group.abandon()


class OwnWay:
    """Our own set-up, see :mod:`wherry.runtime.launch.spawn`."""

    kill = ()

    def __init__(
        self,
        plan: Plan,
        passed: Passed,
        host: Host,
        reap: Callable[[int], None],
        *,
        existing: bool,
    ) -> None:
        """``reap`` is called with the number of a process that the monitor is to reap."""
        self._plan = plan
        self._passed = passed
        self._reap = reap
        self._unified = host.layout.unified
        self._group = Group(host.cgroups, plan, existing=existing)

    def begin(self, stdio: tuple[int, int, int] | None, directory: int) -> Child:
        """See :class:`Way`."""
        try:
            return spawn(
                self._plan,
                self._group,
                stdio=stdio,
                netns_fd=self._passed.netns,
                container_pidfd=self._passed.container,
                reap=self._reap,
            )
        except BaseException:
            self._group.abandon()  # it may have been made for the process to be born in
            raise

    def complete(self, child: Child, meanwhile: Callable[[], T]) -> T:
        """See :class:`Way`."""
        return handshake(self._plan, child, self._group, unified=self._unified, meanwhile=meanwhile)

    def abandon(self, child: Child) -> None:
        """See :class:`Way`."""
        child.kill()
        self._group.abandon()
