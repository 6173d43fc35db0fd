"""The part of a plan that decides about namespaces: which are made, which are joined, and when."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import Linux, LinuxNamespace
from wherry.runtime.ops.base import Op
from wherry.runtime.ops.kernel import (
    AwaitMappings,
    BecomeRoot,
    JoinNamespace,
    JoinPassedNetwork,
    RaiseLoopback,
)
from wherry.runtime.plan.passage import Passage
from wherry.sys import namespaces as ns

NAMESPACE_FLAGS = {
    "mount": ns.CLONE_NEWNS,
    "pid": ns.CLONE_NEWPID,
    "network": ns.CLONE_NEWNET,
    "uts": ns.CLONE_NEWUTS,
    "ipc": ns.CLONE_NEWIPC,
    "user": ns.CLONE_NEWUSER,
    "cgroup": ns.CLONE_NEWCGROUP,
    "time": ns.CLONE_NEWTIME,
}


class Namespaces(msgspec.Struct, frozen=True):
    """``made`` are flags of clone(2); all that are neither made nor joined are the host's.
    ``netns`` tells that the network's comes as a descriptor."""

    made: int
    joined: tuple[LinuxNamespace, ...] = ()
    netns: bool = False

    def made_or_joined(self, kind: str) -> bool:
        return bool(self.made & NAMESPACE_FLAGS[kind]) or self.joins(kind)

    def joins(self, kind: str) -> bool:
        return any(one.type == kind for one in self.joined)

    @property
    def own_mounts(self) -> bool:
        """Whether nobody else is in the container's mount namespace."""
        return bool(self.made & ns.CLONE_NEWNS)

    @property
    def users(self) -> bool:
        """Whether the container's root has less power than the host's: the host's files are out of
        its reach."""
        return self.made_or_joined("user")


def owns_mounts(linux: Linux) -> bool:
    """Whether nobody else is in the mount namespace of a container."""
    return any(one.type == "mount" and not one.path for one in linux.namespaces)


def namespaces_of(linux: Linux, netns: bool) -> Namespaces:
    """What a configuration says about namespaces; InvalidArgument for what cannot be."""
    made, joined, seen = 0, [], set()
    for one in linux.namespaces:
        if one.type in seen:
            raise InvalidArgument(f"config.json lists the {one.type} namespace twice")
        seen.add(one.type)
        if one.type == "network" and netns:
            continue
        if one.path:
            joined.append(one)
        else:
            made |= NAMESPACE_FLAGS[one.type]
    found = Namespaces(made, tuple(joined), netns)
    _check_paths(found)
    _check_users(linux, found)
    _check_mounts(linux, found)
    _check_clocks(linux, found)
    return found


def _check_paths(names: Namespaces) -> None:
    for one in names.joined:
        if not os.path.isabs(one.path):
            raise InvalidArgument(f"the namespace's path {one.path!r} is not absolute")


def _check_users(linux: Linux, names: Namespaces) -> None:
    if names.made & ns.CLONE_NEWUSER and not (linux.uid_mappings and linux.gid_mappings):
        raise InvalidArgument("a new user namespace needs uidMappings and gidMappings")
    if not names.users and (linux.uid_mappings or linux.gid_mappings):
        raise InvalidArgument("uidMappings and gidMappings need a user namespace")


def _check_mounts(linux: Linux, names: Namespaces) -> None:
    """A container may do without mounts of its own, but then others can see and undo them: what is
    hidden from it would only seem to be."""
    if names.own_mounts:
        return
    if names.made & ns.CLONE_NEWUSER:
        raise InvalidArgument(
            "a new user namespace needs a new mount namespace: its root has no power over another"
        )
    if names.joins("mount"):
        return
    if names.users:
        raise InvalidArgument(
            "a user namespace needs a mount namespace: its root has no power over the host's"
        )
    if linux.masked_paths or linux.readonly_paths:
        raise InvalidArgument("unable to restrict sys entries without a private MNT namespace")


def _check_clocks(linux: Linux, names: Namespaces) -> None:
    if linux.time_offsets and not names.made & ns.CLONE_NEWTIME:
        raise InvalidArgument("timeOffsets need a new time namespace")
    if unknown := set(linux.time_offsets) - {"monotonic", "boottime"}:
        raise InvalidArgument(f"timeOffsets: unknown clock {min(unknown)!r}")


def passage_of(linux: Linux, names: Namespaces) -> Passage:
    """What is entered before the child is cloned: a PID namespace; all if a user namespace, with
    less power than the host, is among those of the container."""
    paths = tuple(
        (NAMESPACE_FLAGS[one.type], one.path)
        for one in names.joined
        if names.users or one.type == "pid"
    )
    offsets = "".join(
        f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in linux.time_offsets.items()
    )
    return Passage(paths, offsets)


def joining_ops(names: Namespaces, passage: Passage) -> Iterator[Op]:
    """What the child itself enters. Paths are the host's until it enters a mount namespace."""
    entered = {path for _, path in passage.joined}
    for one in in_order(names.joined):
        if one.path not in entered:
            yield JoinNamespace(one.path, NAMESPACE_FLAGS[one.type])
    if names.netns:
        yield JoinPassedNetwork()
    if names.made & ns.CLONE_NEWUSER:
        yield AwaitMappings()
    elif names.joins("user"):
        yield BecomeRoot()
    if names.made & ns.CLONE_NEWNET:
        yield RaiseLoopback()


def in_order(joined: Sequence[LinuxNamespace]) -> list[LinuxNamespace]:
    """The mount namespace last."""
    return sorted(joined, key=lambda one: one.type == "mount")
