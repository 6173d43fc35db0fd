"""From a specification to the list of operations that makes it true. Pure: no privileges, no I/O.

The order is that of runc, which images and tools have come to rely on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import (
    INIT_ANNOTATION,
    CpuAffinity,
    Hooks,
    IdMapping,
    Linux,
    LinuxResources,
    LinuxSeccomp,
    Process,
    Spec,
    State,
)
from wherry.runtime.ops.base import DetachedOp, Op
from wherry.runtime.ops.kernel import (
    BecomeRoot,
    JoinCgroup,
    JoinContainer,
    JoinKeyring,
    SetAffinity,
)
from wherry.runtime.ops.mounts import BindMount
from wherry.runtime.ops.program import LoadSeccomp
from wherry.runtime.plan.namespaces import (
    NAMESPACE_FLAGS,
    joining_ops,
    namespaces_of,
    owns_mounts,
    passage_of,
)
from wherry.runtime.plan.passage import Passage
from wherry.runtime.plan.process import check_process, parse_cpus, process_ops
from wherry.runtime.plan.tree import Tree, console_ops, hook_ops, tree_ops
from wherry.sys import namespaces as ns

if TYPE_CHECKING:
    from wherry.snapshot.api import OverlayMount


class CgroupLayout(msgspec.Struct, frozen=True):
    """Where the host's hierarchies are mounted. Of cgroup v2 alone nothing is listed: there a
    process begins in its group (CLONE_INTO_CGROUP), unless ``systemd`` makes the groups, which it
    does around a process. ``beside`` tells that it begins in one of version 2 and enters those of
    version 1 (a hybrid host)."""

    unified: bool
    legacy: tuple[str, ...] = ()
    systemd: bool = False
    beside: bool = False

    def tasks(self, path: str) -> tuple[str, ...]:
        """The ``tasks`` files of a group."""
        return tuple(f"{mountpoint}{path}/tasks" for mountpoint in self.legacy)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to start one process, decided.

    ``clone_flags`` are the namespaces made with it, ``passage`` what is entered beforehand. The
    ``prepared_mounts`` are made by its parent, which also connects to the seccomp agent's socket
    ``listener``. ``born_inside`` tells that it begins in its group of version 2; ``moved`` that the
    parent has to move it to its ``cgroup``, which systemd makes if it is a ``scope``; ``own_pids``
    that no process of the container can outlive its first; ``enterable`` that a thread can do all
    of the operations (see execs/entering.py). ``streams_owner`` is the host's id of the process's
    user, if it has another in the container.
    """

    id: str
    bundle: str
    ops: tuple[Op, ...]
    terminal: bool
    clone_flags: int = 0
    passage: Passage = Passage()
    prepared_mounts: tuple[DetachedOp, ...] = ()
    listener: str = ""
    streams_owner: int = -1
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    cgroup: str
    born_inside: bool = False
    moved: bool = False
    scope: bool = False
    resources: LinuxResources = LinuxResources()
    hooks: Hooks = Hooks()
    state: State
    own_pids: bool = False
    enterable: bool = False


class Filters:
    """Compiled system call filters by profile. Most containers share one."""

    LIMIT = 16

    def __init__(self) -> None:
        self._programs: dict[LinuxSeccomp, bytes] = {}
        self.compiled: LinuxSeccomp | None = None  # the last that was not known

    def program(self, profile: LinuxSeccomp) -> bytes:
        """The program of a profile; InvalidArgument."""
        program = self._programs.get(profile)
        if program is None:
            from wherry.runtime.seccomp.compiler import compile_filter

            program = compile_filter(profile)
            self.remember(profile, program)
            self.compiled = profile
        return program

    def remember(self, profile: LinuxSeccomp, program: bytes) -> None:
        """Keep a program; the oldest goes when there are too many."""
        if len(self._programs) >= self.LIMIT:
            del self._programs[next(iter(self._programs))]
        self._programs[profile] = program


def plan_container(
    spec: Spec,
    container_id: str,
    bundle: str,
    *,
    rootfs: OverlayMount | None,
    layout: CgroupLayout,
    filters: Filters,
    netns: bool = False,
    console_size: tuple[int, int] | None = None,
    die_with_parent: bool = True,
    preserve_fds: int = 0,
    await_start: bool = False,
    new_keyring: bool = True,
    plain_terminal: bool = False,
    no_pivot: bool = False,
) -> Plan:
    """Decide how a container is set up.

    ``await_start``: everything is set up, and the program executed later. InvalidArgument or
    NotSupported names what in the specification cannot be.
    """
    if spec.process is None or spec.root is None:
        raise InvalidArgument("config.json has no process or no root: nothing can be started")
    check_process(spec.process)
    linux = spec.linux or Linux()
    _refuse_foreign(linux)
    names = namespaces_of(linux, netns)
    passage = passage_of(linux, names)
    state = State(
        oci_version=spec.oci_version,
        id=container_id,
        status="creating",
        pid=0,
        bundle=bundle,
        annotations=spec.annotations,
    )
    hooks = spec.hooks or Hooks()
    born_inside = layout.unified and not layout.systemd
    late = 0 if born_inside else names.made & ns.CLONE_NEWCGROUP
    cgroup = cgroup_path(linux.cgroups_path, container_id, layout)
    moved = layout.systemd or (not layout.unified and (names.users or not names.own_mounts))
    join = () if born_inside else (JoinCgroup(() if moved else layout.tasks(cgroup), bool(late)),)
    tree = Tree(
        bundle=bundle,
        rootfs=rootfs,
        names=names,
        join=join,
        unified=layout.unified,
        state=state,
        console_size=console_size,
        plain_terminal=plain_terminal,
        no_pivot=no_pivot,
    )
    ops = (
        *joining_ops(names, passage),
        *((JoinKeyring(f"_ses.{container_id}"),) if new_keyring else ()),
        *tree_ops(spec, linux, tree),
        *process_ops(
            spec.process,
            seccomp=_seccomp(linux, filters, msgspec.structs.replace(state, status="created")),
            personality=linux.personality,
            start_hooks=hook_ops(hooks.start_container, state, "created", "startContainer"),
            die_with_parent=die_with_parent,
            preserve_fds=preserve_fds,
            await_start=await_start,
            own_init=spec.annotations.get(INIT_ANNOTATION) == "true",
        ),
    )
    return Plan(
        id=container_id,
        bundle=bundle,
        ops=ops,
        terminal=spec.process.terminal,
        clone_flags=names.made & ~late & ~(ns.CLONE_NEWTIME if passage.time_offsets else 0),
        passage=passage,
        prepared_mounts=_prepared_mounts(ops, os.path.join(bundle, spec.root.path), names.users),
        listener=_listener(linux),
        streams_owner=streams_owner(linux, spec.process),
        uid_mappings=linux.uid_mappings,
        gid_mappings=linux.gid_mappings,
        cgroup=cgroup,
        born_inside=born_inside or layout.beside,
        moved=moved,
        scope=layout.systemd,
        resources=linux.resources or LinuxResources(),
        hooks=hooks,
        state=state,
        own_pids=bool(names.made & ns.CLONE_NEWPID),
    )


def cgroup_path(asked: str, container_id: str, layout: CgroupLayout) -> str:
    """Where a container's group is, relative to the hierarchies' roots, as a path without the
    slash at its beginning is, too (config-linux.md, section "Cgroups Path")."""
    if not layout.systemd:
        path = asked or f"wherry/{container_id}"
        return path if path.startswith("/") else f"/{path}"
    from wherry.cgroup.scopes import parse_scope  # few are asked to

    return parse_scope(asked, container_id).path


def plan_exec(
    process: Process,
    spec: Spec,
    container_id: str,
    bundle: str,
    *,
    cgroup: str,
    layout: CgroupLayout,
    filters: Filters,
    console_size: tuple[int, int] | None = None,
    die_with_parent: bool = True,
    preserve_fds: int = 0,
    container_pid: int = 0,
    groups: tuple[str, ...] = (),
    plain_terminal: bool = False,
) -> Plan:
    """Decide how one more process enters the container that ``spec`` describes; ``groups`` are
    control groups below the container's (see subgroups.py)."""
    # What no start needs; the launcher has it before the first exec.
    from wherry.runtime.plan.entering import is_enterable, may_trace
    from wherry.runtime.plan.subgroups import group_beside, group_files, one_group

    check_process(process)
    tasks: tuple[str, ...] = ()
    if layout.unified:
        cgroup = one_group(cgroup, groups)
    else:
        tasks = tuple(group_files(layout.legacy, cgroup, groups))
        cgroup = group_beside(cgroup, groups)
    linux = spec.linux or Linux()
    flags = 0
    for one in linux.namespaces:
        flags |= NAMESPACE_FLAGS.get(one.type, 0)
    state = State(
        oci_version=spec.oci_version,
        id=container_id,
        status="running",
        pid=container_pid,
        bundle=bundle,
        annotations=spec.annotations,
    )
    affinity = process.exec_cpu_affinity or CpuAffinity()
    ops = (
        *((SetAffinity(parse_cpus(affinity.initial)),) if affinity.initial else ()),
        JoinKeyring(f"_ses.{container_id}"),
        *(() if layout.unified else (JoinCgroup(tasks, False),)),
        _joining_op(linux, flags & ~ns.CLONE_NEWPID, container_pid),
        *((BecomeRoot(),) if flags & ns.CLONE_NEWUSER else ()),
        *console_ops(process, console_size, bind=False, plain=plain_terminal),
        *process_ops(
            process,
            seccomp=_seccomp(linux, filters, state),
            personality=linux.personality,
            cpus=affinity.final,
            die_with_parent=die_with_parent,
            preserve_fds=preserve_fds,
        ),
    )
    return Plan(
        id=container_id,
        bundle=bundle,
        ops=ops,
        terminal=process.terminal,
        listener=_listener(linux),
        streams_owner=streams_owner(linux, process),
        cgroup=cgroup,
        born_inside=layout.unified or layout.beside,
        state=state,
        enterable=is_enterable(ops, flags, linux.seccomp)
        and not (layout.beside or preserve_fds or may_trace(spec.process, process)),
    )


def _joining_op(linux: Linux, flags: int, pid: int) -> JoinContainer:
    if owns_mounts(linux):
        return JoinContainer(flags)
    from wherry.runtime.ops.shared_root import JoinSharedRoot  # few containers share their mounts

    return JoinSharedRoot(flags, pid)


def _seccomp(linux: Linux, filters: Filters, state: State) -> LoadSeccomp | None:
    profile = linux.seccomp
    if profile is None:
        return None
    from wherry.runtime.seccomp.actions import filter_flags, needs_listener

    program, flags = filters.program(profile), filter_flags(profile)
    if not needs_listener(profile):
        return LoadSeccomp(program, flags)
    from wherry.runtime.ops.listener import LoadNotifyingSeccomp  # few containers have one

    return LoadNotifyingSeccomp(program, flags, profile.listener_metadata, state)


def _prepared_mounts(ops: Sequence[Op], root: str, users: bool) -> tuple[DetachedOp, ...]:
    """Those that need the host's privileges: id-mapped ones, and for a user namespace all whose
    source is not in what the mounts before them make."""
    inside = root.rstrip("/") + "/"

    def needs_power(op: DetachedOp) -> bool:
        if not isinstance(op, BindMount):
            return True
        return bool(op.uid_mappings) or (users and not op.source.startswith(inside))

    return tuple(op for op in ops if isinstance(op, DetachedOp) and needs_power(op))


def streams_owner(linux: Linux, process: Process) -> int:
    """Whose a process's streams are to be, so that it can open them again by name."""
    uid = process.user.uid
    for one in linux.uid_mappings:
        if one.container_id <= uid < one.container_id + one.size:
            return one.host_id + uid - one.container_id
    return -1


def _listener(linux: Linux) -> str:
    """The path of the seccomp agent's socket, if there is one."""
    profile = linux.seccomp
    if profile is None or not profile.listener_path:
        return ""
    from wherry.runtime.seccomp.actions import needs_listener

    return profile.listener_path if needs_listener(profile) else ""


def _refuse_foreign(linux: Linux) -> None:
    for name, value in (
        ("intelRdt", linux.intel_rdt),
        ("memoryPolicy", linux.memory_policy),
        ("netDevices", linux.net_devices),
    ):
        if value is not None:
            raise NotSupported(f"linux.{name} is not supported by this runtime")
