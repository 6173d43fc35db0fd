"""An init that is held ready: it waits in a PID namespace of its own to become a container's first.

To clone a process when the request has come (spawn.py) is to copy the interpreter, and copy and
original alike then fault on every page that they write to. So a starter clones one beforehand, as
a child of its monitor. It has touched what planning touches before anybody waits for it, and made
what most containers have alike (premade.py); it makes the other namespaces itself, and becomes the
program.

    starter                                   init held ready
    Start, with the network namespace ----->  read and plan
              <------ Planned (or Declined)   make the namespaces
    what a parent does in spawn.py, with      the plan's operations
    the standard streams beside Go("cgroup")

The first process of a PID namespace has to be the one that mounts its procfs: procfs(5) belongs to
the namespace of who mounts it, not to that of his children, so that no thread outside can do it.
What has to be there before the clone is declined, and cloned after all: see :func:`suits`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from wherry.errors import WherryError
from wherry.runtime.api import StartRequest
from wherry.runtime.documents import read_spec
from wherry.runtime.host import Host
from wherry.runtime.launch.premade import Premade, with_trees
from wherry.runtime.launch.spawn import Child, become
from wherry.runtime.messages import (
    Declined,
    Failed,
    Planned,
    Start,
    ToLauncher,
    failure,
    from_ready,
    receive,
    send,
    to_error,
    to_launcher,
)
from wherry.runtime.ops.base import Op, Setup
from wherry.runtime.plan.planning import Plan, plan_container
from wherry.runtime.title import set_own_name
from wherry.sys.files import close_range
from wherry.sys.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PARENT,
    clone3,
    unshare,
)
from wherry.sys.process import PR_SET_PDEATHSIG, prctl

_MADE = CLONE_NEWPID | CLONE_NEWIPC  # with it; the others it makes itself

_plans = msgspec.json.Decoder(Plan)


class ReadyInit:
    """One that waits, as its starter knows it."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._held = True

    def close(self) -> None:
        """Let go of it: it ends."""
        self._held = False
        os.close(self.child.pidfd)
        self.child.channel.close()

    def end(self) -> None:
        """End it, whatever it is doing, unless it was let go of."""
        if self._held:
            self.child.kill()

    def offer(self, message: ToLauncher, fds: Sequence[int]) -> None:
        """Have it set up the container of a request, with what came beside that; nothing if it
        is for somebody else. It begins while its starter prepares its own part."""
        if not isinstance(message, Start) or message.request.external is not None:
            return
        first = 1 + message.request.attach
        netns = fds[first : first + message.request.netns]
        try:
            send(self.child.channel, message, netns)
        except OSError:
            pass  # killed while it waited, which :meth:`answer` finds out

    def answer(self, host: Host) -> Plan | None:
        """How it sets up what it was offered, but for the operations; None if it declines or is
        dead: another can be cloned. Raises what is wrong with the request."""
        try:
            packet = receive(self.child.channel, from_ready)
        except OSError:
            packet = None
        answer = packet[0] if packet is not None else Declined()
        if isinstance(answer, Failed):
            raise to_error(answer.kind, answer.message)
        if isinstance(answer, Declined):
            return None
        if answer.profile is not None:
            host.filters.remember(answer.profile, answer.program)
            host.filters.compiled = answer.profile
        return _plans.decode(answer.plan)


class Stock(msgspec.Struct, frozen=True):
    """What a starter has before a request comes: an init, or else mounts for one that it clones."""

    init: ReadyInit | None = None
    mounts: tuple[Premade, ...] = ()

    def close(self) -> None:
        """Let go of it."""
        if self.init is not None:
            self.init.close()
        for one in self.mounts:
            os.close(one.tree)


def hold_ready(host: Host, prepare: Callable[[], tuple[Premade, ...]]) -> ReadyInit | None:
    """Clone one, a child of this process's parent, which calls ``prepare`` before it waits.

    None on cgroup v2, where a process is best born in its group: to move it there later makes the
    kernel wait, for several milliseconds.
    """
    if host.layout.unified or host.layout.beside:
        return None
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid, pidfd = clone3(_MADE | CLONE_PARENT)
    if pid == 0:
        _wait(theirs, host, prepare)
    theirs.close()
    return ReadyInit(Child(pid, pidfd, ours))


def suits(plan: Plan) -> bool:
    """Whether one that waits can carry out a plan.

    It was cloned in the host's user, time and PID namespaces, by nobody who has prepared anything,
    and is to enter its control group itself.
    """
    return (
        plan.clone_flags & (_MADE | CLONE_NEWUSER | CLONE_NEWTIME) == _MADE
        and not (plan.passage or plan.prepared_mounts or plan.listener)
        and not (plan.born_inside or plan.moved or plan.scope)
    )


def plan_start(request: StartRequest, host: Host) -> Plan:
    """How the container of a request is set up; InvalidArgument, NotSupported."""
    return plan_container(
        read_spec(request.bundle),
        request.id,
        request.bundle,
        rootfs=request.rootfs,
        layout=msgspec.structs.replace(host.layout, systemd=request.systemd_cgroup),
        filters=host.filters,
        netns=request.netns,
        console_size=request.console_size,
    )


class MakeNamespaces(Op, frozen=True):
    """Make those namespaces that a process can make for itself."""

    flags: int

    def describe(self) -> str:
        return "make the container's namespaces"

    def execute(self, setup: Setup) -> None:
        unshare(self.flags)


def _wait(channel: socket.socket, host: Host, prepare: Callable[[], tuple[Premade, ...]]) -> None:
    """The life of one; never returns."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        close_range(3, channel.fileno() - 1)
        close_range(channel.fileno() + 1)
        set_own_name(b"wherry-init")
        premade = prepare()
        packet = receive(channel, to_launcher)
        if packet is not None and isinstance(packet[0], Start):
            _set_up(packet[0].request, packet[1], channel, host, premade)
    except BaseException:  # noqa: BLE001 - a defect of ours
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(255)


def _set_up(
    request: StartRequest,
    fds: list[int],
    channel: socket.socket,
    host: Host,
    premade: Sequence[Premade],
) -> None:
    """Become the container; returns if that was declined."""
    try:
        plan = plan_start(request, host)
    except (WherryError, OSError) as error:
        send(channel, failure(error))
        return
    if not suits(plan):
        send(channel, Declined())
        return
    send(channel, _planned(plan, host))
    ops = (MakeNamespaces(plan.clone_flags & ~_MADE), *with_trees(plan.ops, premade))
    netns = fds[0] if fds else None
    become(msgspec.structs.replace(plan, ops=ops), Setup(channel, netns_fd=netns))


def _planned(plan: Plan, host: Host) -> Planned:
    head = msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(plan, ops=())))
    profile = host.filters.compiled
    if profile is None:
        return Planned(head)
    return Planned(head, profile, host.filters.program(profile))
