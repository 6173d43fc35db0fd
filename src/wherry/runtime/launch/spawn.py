"""Starting one process from a plan: the parent's side and the child's.

    parent (starter)                          child (init)
    prepare the id-mapped mounts and the seccomp listener's socket
    go through the passage, if there is one (see plan/passage.py)
    make the cgroup, on cgroup v2
    clone3 ------------------------------->   [own mount, PID, ... namespaces]
    write the id mappings
    Go("mappings") ----------------------->   AwaitMappings   (user namespace only)
    make the cgroup                           mounts, devices, masks, ...
    Go("cgroup") ------------------------->   JoinCgroup      (not on cgroup v2)
                   <---- Console + descriptor OpenConsole     (terminal only)
    run early hooks <------------- Waiting    AwaitHooks      (hooks only)
    Go("hooks") -------------------------->
                   <--------------- Ready     AnnounceReady
                   <---------- end of file    execve: the channel is close-on-exec

At any point the child may send Failed instead, and exit. The parent ends a failed child, reaps it
and removes its group.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from wherry.errors import InternalError
from wherry.runtime.init_messages import (
    Console,
    Failed,
    FromInit,
    Go,
    Ready,
    Waiting,
    failure,
    from_init,
    to_error,
)
from wherry.runtime.ops.base import Setup, reason, run
from wherry.runtime.ops.idmap import write_mappings
from wherry.runtime.ops.kernel import join
from wherry.runtime.ops.prepared import give, prepare
from wherry.runtime.packets import receive, send
from wherry.runtime.plan.passage import Clone, enter, through
from wherry.runtime.plan.planning import Plan
from wherry.sys.faults import reach
from wherry.sys.namespaces import CLONE_NEWPID, CLONE_NEWUSER, CLONE_PARENT, clone3

if TYPE_CHECKING:
    from wherry.cgroup.api import Cgroup, Cgroups

T = TypeVar("T")
_STREAMS = (0, 1, 2)  # the caller's own, which a child has that is given no others


class Child:
    """A process that was started, and what its parent holds of it."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket | None = None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._channel = channel
        self.master_fd: int | None = None
        self.created_mountpoints: tuple[str, ...] = ()

    @property
    def channel(self) -> socket.socket:
        """To the process while it sets itself up."""
        if self._channel is None:
            raise InternalError("the process sets nothing up itself")
        return self._channel

    def kill(self) -> None:
        """SIGKILL, wait for the end, and reap if it is this process's own child."""
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        import select  # seldom is one killed here

        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll()
        try:
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        except ChildProcessError:
            pass


class Group:
    """The control group of a plan: made anew for a container, joined for an exec."""

    def __init__(self, cgroups: Cgroups, plan: Plan, *, existing: bool) -> None:
        self._cgroups = cgroups
        self._plan = plan
        self._existing = existing
        self.cgroup: Cgroup | None = None

    def open(self, first: int = 0) -> Cgroup:
        """The group, made if need be, with ``first`` as the process that is moved to it."""
        plan = self._plan
        if self.cgroup is None and self._existing:
            self.cgroup = self._cgroups.open(plan.cgroup)
        elif self.cgroup is None:
            cgroups = scopes(self._cgroups) if plan.scope else self._cgroups
            self.cgroup = cgroups.create(plan.cgroup, plan.resources, first)
        elif first:
            self.cgroup.add(first)
        return self.cgroup

    def abandon(self) -> None:
        """Remove what was made for a container that did not start."""
        if self.cgroup is not None and not self._existing:
            self.cgroup.kill()
            self.cgroup.remove()


def scopes(cgroups: Cgroups) -> Cgroups:
    """The groups that systemd makes; NotSupported where it does not."""
    from wherry.cgroup.systemd import SystemdCgroups  # few are asked to

    return SystemdCgroups(cgroups)


def spawn(
    plan: Plan,
    group: Group,
    *,
    stdio: tuple[int, int, int] | None = None,
    netns_fd: int | None = None,
    container_pidfd: int | None = None,
    start_fd: int | None = None,
    reap: Callable[[int], None] | None = None,
) -> Child:
    """clone3 the child, which begins to execute the plan's operations; see :func:`handshake`.

    With ``reap`` it is a sibling: the child of this process's parent, which has to be told by it of
    the number of a process that has to be reaped besides, if there is one.
    """
    sibling = reap is not None
    if container_pidfd is not None:
        join(container_pidfd, CLONE_NEWPID)
    apart = bool(plan.passage) and not sibling
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = group.open().directory_fd() if plan.born_inside else None
    prepared = prepare(plan.prepared_mounts, plan.listener)
    score = _lend(plan, stdio or (() if plan.terminal else _STREAMS))

    def clone() -> tuple[int, int]:
        flags = plan.clone_flags | (CLONE_PARENT if sibling or apart else 0)
        pid, pidfd = clone3(flags, directory)
        if pid == 0:
            ours.close()
            become(plan, Setup(theirs, stdio, netns_fd, container_pidfd, start_fd, prepared))
        return pid, pidfd

    try:
        pid, pidfd = _cloned(plan, group, clone, apart, reap)
    finally:
        prepared.close()
        if directory is not None:
            os.close(directory)
        if score is not None:
            _give_back(score)
    theirs.close()
    return Child(pid, pidfd, ours)


def _cloned(
    plan: Plan, group: Group, clone: Clone, apart: bool, reap: Callable[[int], None] | None
) -> tuple[int, int]:
    """The child's pid and pidfd, once it has gone through the passage."""
    try:
        if apart:
            return through(plan.passage, clone)
        if plan.scope and plan.passage:  # it is still to be moved, by who has the power to
            return through(plan.passage, clone, reap)
        if plan.moved and plan.passage:
            group.open()  # while this process still may
        enter(plan.passage)  # a sibling's other parent ends soon, wherever it is
        return clone()
    except OSError as error:
        raise InternalError(f"cannot make the container's namespaces: {reason(error)}") from None


def _lend(plan: Plan, streams: Sequence[int]) -> int | None:
    """Let the child have what its own root cannot take; see lending.py."""
    if plan.streams_owner < 0:
        return None
    from wherry.runtime.launch.lending import lend  # few containers have users of their own

    give(streams, plan.streams_owner)
    return lend(plan.ops)


def _give_back(score: int) -> None:
    from wherry.runtime.launch.lending import give_back

    give_back(score)


def become(plan: Plan, setup: Setup) -> None:
    """The child's side; never returns."""
    try:
        # Soon the files of this process are the container's: nothing may be imported from there.
        sys.meta_path.clear()
        sys.path.clear()
        os.umask(0)
        reach("init.begun")
        run(plan.ops, setup)
    except BaseException as error:  # noqa: BLE001 - whatever it is must not run the parent's code
        try:
            send(setup.channel, failure(error))
        except OSError:
            os.write(2, f"{error}\n".encode())  # created long ago: only its own streams are left
    finally:
        os._exit(255)


def handshake(
    plan: Plan,
    child: Child,
    group: Group,
    *,
    unified: bool,
    meanwhile: Callable[[], T],
    stdio: Sequence[int] = (),
) -> T:
    """Do the parent's part until the program is executed.

    ``meanwhile`` is called while the child works, and its result returned. The child gets ``stdio``
    if it has no streams yet. Raises what went wrong, after the child was killed and its group
    removed.
    """
    try:
        if plan.clone_flags & CLONE_NEWUSER:
            write_mappings(child.pid, plan.uid_mappings, plan.gid_mappings)
            send(child.channel, Go("mappings"))
        if plan.scope or not unified:
            group.open(child.pid if plan.moved else 0)
            send(child.channel, Go("cgroup"), stdio)
        made = meanwhile()
        _listen(plan, child)
        return made
    except BaseException as error:
        error = _better(error, child)
        child.kill()
        group.abandon()
        raise error from None
    finally:
        child.channel.close()


def _better(error: BaseException, child: Child) -> BaseException:
    """If the channel broke, the child's own words say more than EPIPE."""
    if isinstance(error, OSError):
        try:
            packet = receive(child.channel, from_init, socket.MSG_DONTWAIT)
        except OSError:
            return error
        if packet is not None and isinstance(packet[0], Failed):
            return to_error(packet[0].kind, packet[0].message)
    return error


def _listen(plan: Plan, child: Child) -> None:
    ready = False
    while packet := receive(child.channel, from_init):
        ready = _heard(plan, child, *packet) or ready
    if not ready:
        raise InternalError("the container's set-up was killed, perhaps for lack of memory")


def _heard(plan: Plan, child: Child, message: FromInit, fds: list[int]) -> bool:
    if isinstance(message, Failed):
        raise to_error(message.kind, message.message)
    if isinstance(message, Console):
        child.master_fd = fds[0]
    elif isinstance(message, Waiting):
        from wherry.runtime.hooks import run_hooks  # few containers have hooks

        state = msgspec.structs.replace(plan.state, pid=child.pid)
        run_hooks(plan.hooks.prestart, state, "prestart")
        run_hooks(plan.hooks.create_runtime, state, "createRuntime")
        send(child.channel, Go("hooks"))
    elif isinstance(message, Ready):
        child.created_mountpoints = message.created_mountpoints
        return True
    return False
