"""Mounts made before there is a container for them: /proc and /dev, which most have alike.

They are made by a plan's own operations, in a mount namespace for the moment, and kept as detached
trees. A container whose plan begins with the same operations there gets the trees in their place;
for another one the operations are carried out. A tree belongs to one container: an init that is
held ready makes its own. So does a starter that is to clone one, but for what shows the namespaces
of whoever mounts it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from wherry.errors import WherryError
from wherry.runtime.ops.base import Op, Setup, run
from wherry.runtime.ops.mounts import MaskPath, MountFilesystem, ReadOnlyPath
from wherry.runtime.ops.rooted import make_in, open_in
from wherry.runtime.plan.planning import Plan
from wherry.sys import mount as m
from wherry.sys.namespaces import CLONE_NEWNS, CLONE_NEWUSER, setns, unshare

_PLACES = ("/proc", "/dev")
_OF_NAMESPACES = frozenset({"proc", "mqueue"})


class Premade(msgspec.Struct, frozen=True):
    """A detached tree of mounts: ``ops`` are ``mount`` and all in a plan that work below that.
    ``absent`` are those of them that found nothing to hide, and its name: it may come yet, with a
    driver. Those ``left_out`` are still to be done."""

    mount: MountFilesystem
    ops: tuple[Op, ...]
    absent: tuple[tuple[str, Op], ...]
    left_out: tuple[Op, ...]
    tree: int

    def left(self) -> tuple[Op, ...]:
        """Those that have to be carried out."""
        come = (op for name, op in self.absent if os.access(name, os.F_OK, dir_fd=self.tree))
        return (*self.left_out, *come)


class AttachTree(Op, frozen=True):
    """Put a tree where ``mount`` would have mounted."""

    mount: MountFilesystem
    tree: int

    def describe(self) -> str:
        return self.mount.describe()

    def execute(self, setup: Setup) -> None:
        mount = self.mount
        target = make_in(
            setup.root_fd, mount.target, directory=True, links=mount.follow, created=setup.created
        )
        m.attach(self.tree, target)
        os.close(target)
        os.close(self.tree)


def premake(ops: Sequence[Op], *, inside: bool) -> tuple[Premade, ...]:
    """Carry out those of ``ops`` that make /proc and /dev; nothing is made where one cannot be,
    which a container that needs it will be told. ``inside`` tells that this process is in the
    container's PID and IPC namespaces.

    Only for a process with a single thread, which afterwards is where it was before; OSError if it
    is not.
    """
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(CLONE_NEWNS)
    except OSError:
        return ()
    else:
        made = _try_to_make(ops, frozenset() if inside else _OF_NAMESPACES)
        setns(home, CLONE_NEWNS)
        os.fchdir(root)  # which need not be that of the namespace
        os.chroot(".")
        return made
    finally:
        os.close(home)
        os.close(root)


def _try_to_make(ops: Sequence[Op], unwanted: frozenset[str]) -> tuple[Premade, ...]:
    mask = os.umask(0)  # as operations expect it
    try:
        return tuple(_make_trees(ops, unwanted))
    except (OSError, WherryError):
        return ()
    finally:
        os.umask(mask)


def _make_trees(ops: Sequence[Op], unwanted: frozenset[str]) -> Iterator[Premade]:
    # Nothing of this may be seen on the host; what it unmounts meanwhile must go from here, too.
    m.mount("", "/", "", m.MS_SLAVE | m.MS_REC)
    setup = Setup(None)
    setup.root_fd = _mount_scratch()
    for place in _PLACES:
        mine = tuple(ops[index] for index in _at(ops, place))
        left_out = tuple(op for op in mine if _type(op) in unwanted)
        if not mine or not isinstance(mine[0], MountFilesystem) or mine[0] in left_out:
            continue
        run((op for op in mine if op not in left_out), setup)
        absent = tuple(_absent(mine, setup.root_fd, place))
        flags = m.OPEN_TREE_CLONE | m.AT_RECURSIVE
        tree = m.open_tree(setup.root_fd, place.lstrip("/"), flags)
        yield Premade(mine[0], mine, absent, left_out, tree)
    for fd in (setup.root_fd, setup.proc_fd, *setup.directories.values()):
        os.close(fd)


def _type(op: Op) -> str:
    return op.fstype if isinstance(op, MountFilesystem) else ""


def _absent(ops: Iterable[Op], root: int, place: str) -> Iterator[tuple[str, Op]]:
    for op in ops:
        if isinstance(op, MaskPath | ReadOnlyPath):
            try:
                os.close(open_in(root, op.path))
            except FileNotFoundError:
                yield op.path[len(place) + 1 :], op


def _mount_scratch() -> int:
    """An empty root to mount on, above the real one: before Linux 6.15 no mount can be put on one
    that is not attached itself (move_mount(2))."""
    context = m.fsopen("tmpfs")
    m.fsconfig_create(context)
    scratch = m.fsmount(context)
    os.close(context)
    m.attach_at(scratch, "/")
    return scratch


def with_premade(plan: Plan, premade: Iterable[Premade]) -> Plan:
    """The plan of a container that is cloned by whoever made the trees; they are the host's root's,
    and so for one without users of its own."""
    if plan.passage or plan.clone_flags & (CLONE_NEWNS | CLONE_NEWUSER) != CLONE_NEWNS:
        return plan
    return msgspec.structs.replace(plan, ops=with_trees(plan.ops, premade))


def with_trees(ops: tuple[Op, ...], premade: Iterable[Premade]) -> tuple[Op, ...]:
    """The operations, with trees in place of those that have made them."""
    for one in premade:
        ops = _with_tree(ops, one)
    return ops


def _with_tree(ops: tuple[Op, ...], premade: Premade) -> tuple[Op, ...]:
    """Others may follow at the same place, but none come between: what they do would be done in
    another order."""
    mine = _at(ops, premade.mount.target)[: len(premade.ops)]
    if tuple(ops[index] for index in mine) != premade.ops:
        return ops
    left = premade.left()
    done = {index for index in mine if ops[index] not in left}
    rest = (op for index, op in enumerate(ops) if index > mine[0] and index not in done)
    return (*ops[: mine[0]], AttachTree(premade.mount, premade.tree), *rest)


def _at(ops: Sequence[Op], place: str) -> list[int]:
    """Which operations work at a place in the container, or below it."""
    below = place + "/"
    return [
        index
        for index, where in enumerate(map(_place, ops))
        if where == place or where.startswith(below)
    ]


def _place(op: Op) -> str:
    """Where an operation works. A link has a target, too: what is in it."""
    return getattr(op, "path", "") or getattr(op, "target", "")
