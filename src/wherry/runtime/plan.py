"""From a specification to the list of operations that makes it true. Pure: no privileges, no I/O.

The order is that of runc, which images and tools have come to rely on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import msgspec

from wherry.errors import InvalidArgument, NotSupported
from wherry.model.runtime_spec import (
    INIT_ANNOTATION,
    CpuAffinity,
    Hook,
    Hooks,
    IdMapping,
    Linux,
    LinuxNamespace,
    LinuxResources,
    LinuxSeccomp,
    Process,
    Spec,
    State,
)
from wherry.runtime.hooks import RunHooks
from wherry.runtime.ops.base import Op
from wherry.runtime.ops.kernel import (
    AwaitHooks,
    AwaitMappings,
    BecomeRoot,
    CheckLabel,
    JoinCgroup,
    JoinContainer,
    JoinKeyring,
    JoinNamespace,
    JoinPassedNetwork,
    SetAffinity,
    SetNames,
)
from wherry.runtime.ops.mounts import (
    BindMount,
    FinishRoot,
    MakeMountsSlave,
    MakePlacePrivate,
    MaskPath,
    MountRoot,
    PivotRoot,
    ReadOnlyPath,
)
from wherry.runtime.ops.program import LoadSeccomp
from wherry.runtime.options import propagation_flags
from wherry.runtime.passage import Passage
from wherry.runtime.plan_entering import is_enterable
from wherry.runtime.plan_process import check_process, parse_cpus, process_ops
from wherry.runtime.plan_tree import (
    console_ops,
    device_ops,
    finish_dev,
    labelled,
    mapped,
    mount_ops,
    sysctl_ops,
)
from wherry.runtime.seccomp import compile_filter, filter_flags, needs_listener
from wherry.runtime.subgroups import group_files, one_group
from wherry.snapshot.api import OverlayMount
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


class CgroupLayout(msgspec.Struct, frozen=True):
    """Where the host's hierarchies are mounted. Of cgroup v2 alone nothing is listed: there a
    process begins in its group (CLONE_INTO_CGROUP), unless ``systemd`` makes the groups, which it
    does around a process."""

    unified: bool
    legacy: tuple[str, ...] = ()
    systemd: bool = False

    def tasks(self, path: str) -> tuple[str, ...]:
        """The ``tasks`` files of a group."""
        return tuple(f"{mountpoint}{path}/tasks" for mountpoint in self.legacy)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to start one process, decided.

    ``clone_flags`` are the namespaces made with it, ``passage`` what is entered beforehand. The
    ``prepared_mounts`` are made by its parent, which also connects to the seccomp agent's socket
    ``listener``. ``moved`` tells that the parent has to move it to its ``cgroup``, which systemd
    makes if it is a ``scope``; ``own_pids`` that no process of the container can outlive its first;
    ``enterable`` that a thread can do all of the operations (see entering.py).
    """

    id: str
    bundle: str
    ops: tuple[Op, ...]
    terminal: bool
    clone_flags: int = 0
    passage: Passage = Passage()
    prepared_mounts: tuple[BindMount, ...] = ()
    listener: str = ""
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    cgroup: str
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
    made, joined = _namespaces(linux.namespaces, netns)
    _check_namespaces(linux, made, joined)
    passage = _passage(linux, made, joined)
    entered = {path for _, path in passage.joined}
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
    late = 0 if born_inside else made & ns.CLONE_NEWCGROUP
    cgroup = cgroup_path(linux.cgroups_path, container_id, layout)
    # The host's files are out of reach for the root of a user namespace.
    users = made & ns.CLONE_NEWUSER or any(one.type == "user" for one in joined)
    moved = layout.systemd or (not layout.unified and bool(users))
    join = () if born_inside else (JoinCgroup(() if moved else layout.tasks(cgroup), bool(late)),)
    tree = _tree_ops(
        spec,
        linux,
        bundle,
        rootfs,
        made,
        join,
        layout.unified,
        hooks,
        state,
        console_size,
        plain_terminal,
    )
    ops = (
        *_joining_ops(joined, entered, netns, made),
        *((JoinKeyring(f"_ses.{container_id}"),) if new_keyring else ()),
        *(_moved(tree) if no_pivot else tree),
        *process_ops(
            spec.process,
            seccomp=_seccomp(linux, filters, msgspec.structs.replace(state, status="created")),
            personality=linux.personality,
            start_hooks=_hook_ops(hooks.start_container, state, "created", "startContainer"),
            make_cwd=True,
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
        clone_flags=made & ~late & ~(ns.CLONE_NEWTIME if passage.time_offsets else 0),
        passage=passage,
        prepared_mounts=_prepared_mounts(ops, os.path.join(bundle, spec.root.path), bool(users)),
        listener=_listener(linux),
        uid_mappings=linux.uid_mappings,
        gid_mappings=linux.gid_mappings,
        cgroup=cgroup,
        moved=moved,
        scope=layout.systemd,
        resources=linux.resources or LinuxResources(),
        hooks=hooks,
        state=state,
        own_pids=bool(made & ns.CLONE_NEWPID),
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
    check_process(process)
    tasks: tuple[str, ...] = ()
    if layout.unified:
        cgroup = one_group(cgroup, groups)
    else:
        tasks = tuple(group_files(layout.legacy, cgroup, groups))
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
        JoinContainer(flags & ~ns.CLONE_NEWPID),
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
        cgroup=cgroup,
        state=state,
        enterable=is_enterable(ops, flags, linux.seccomp) and not preserve_fds,
    )


def _seccomp(linux: Linux, filters: Filters, state: State) -> LoadSeccomp | None:
    profile = linux.seccomp
    if profile is None:
        return None
    program, flags = filters.program(profile), filter_flags(profile)
    if not needs_listener(profile):
        return LoadSeccomp(program, flags)
    from wherry.runtime.ops.listener import LoadNotifyingSeccomp  # few containers have one

    return LoadNotifyingSeccomp(program, flags, profile.listener_metadata, state)


def _moved(tree: Iterator[Op]) -> Iterator[Op]:
    from wherry.runtime.ops.moved_root import MoveRoot  # few ask for it

    return (MoveRoot() if isinstance(op, PivotRoot) else op for op in tree)


def _prepared_mounts(ops: Sequence[Op], root: str, users: bool) -> tuple[BindMount, ...]:
    """Those that need the host's privileges: id-mapped ones, and for a user namespace all whose
    source is not in what the mounts before them make."""
    binds = (op for op in ops if isinstance(op, BindMount))
    inside = root.rstrip("/") + "/"
    return tuple(
        op for op in binds if op.uid_mappings or (users and not op.source.startswith(inside))
    )


def _listener(linux: Linux) -> str:
    """The path of the seccomp agent's socket, if there is one."""
    profile = linux.seccomp
    return profile.listener_path if profile is not None and needs_listener(profile) else ""


def _namespaces(
    listed: Sequence[LinuxNamespace], netns: bool
) -> tuple[int, tuple[LinuxNamespace, ...]]:
    """The flags of the namespaces to make, and those to join."""
    made, joined, seen = 0, [], set()
    for one in listed:
        if one.type in seen:
            raise InvalidArgument(f"config.json lists the {one.type} namespace twice")
        seen.add(one.type)
        if one.type == "network" and netns:
            continue
        if one.path:
            joined.append(one)
        else:
            made |= NAMESPACE_FLAGS[one.type]
    return made, tuple(joined)


def _check_namespaces(linux: Linux, made: int, joined: Sequence[LinuxNamespace]) -> None:
    if not made & ns.CLONE_NEWNS:
        raise InvalidArgument("config.json asks for no new mount namespace, which is needed")
    users = made & ns.CLONE_NEWUSER
    if users and not (linux.uid_mappings and linux.gid_mappings):
        raise InvalidArgument("a new user namespace needs uidMappings and gidMappings")
    given = users or any(one.type == "user" for one in joined)
    if not given and (linux.uid_mappings or linux.gid_mappings):
        raise InvalidArgument("uidMappings and gidMappings need a user namespace")
    for name, value in (
        ("intelRdt", linux.intel_rdt),
        ("memoryPolicy", linux.memory_policy),
        ("netDevices", linux.net_devices),
    ):
        if value is not None:
            raise NotSupported(f"linux.{name} is not supported by this runtime")
    if linux.time_offsets and not made & ns.CLONE_NEWTIME:
        raise InvalidArgument("timeOffsets need a new time namespace")
    if unknown := set(linux.time_offsets) - {"monotonic", "boottime"}:
        raise InvalidArgument(f"timeOffsets: unknown clock {min(unknown)!r}")
    for one in joined:
        if not os.path.isabs(one.path):
            raise InvalidArgument(f"the namespace's path {one.path!r} is not absolute")


def _passage(linux: Linux, made: int, joined: Sequence[LinuxNamespace]) -> Passage:
    """What is entered before the child is cloned: a PID namespace; all if a user namespace, with
    less power than the host, is among those of the container."""
    users = made & ns.CLONE_NEWUSER or any(one.type == "user" for one in joined)
    paths = tuple(
        (NAMESPACE_FLAGS[one.type], one.path) for one in joined if users or one.type == "pid"
    )
    offsets = "".join(
        f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in linux.time_offsets.items()
    )
    return Passage(paths, offsets)


def _joining_ops(
    joined: Sequence[LinuxNamespace], entered: set[str], netns: bool, made: int
) -> Iterator[Op]:
    for one in joined:
        if one.path not in entered:
            yield JoinNamespace(one.path, NAMESPACE_FLAGS[one.type])
    if netns:
        yield JoinPassedNetwork()
    if made & ns.CLONE_NEWUSER:
        yield AwaitMappings()
    elif any(one.type == "user" for one in joined):
        yield BecomeRoot()


def _tree_ops(
    spec: Spec,
    linux: Linux,
    bundle: str,
    rootfs: OverlayMount | None,
    made: int,
    join: Sequence[Op],
    unified: bool,
    hooks: Hooks,
    state: State,
    console_size: tuple[int, int] | None,
    plain_terminal: bool,
) -> Iterator[Op]:
    """Everything between the new namespaces and the new root."""
    if spec.process is None or spec.root is None:
        return
    if linux.mount_label:
        yield CheckLabel(linux.mount_label)
    if spec.hostname or spec.domainname:
        if not made & ns.CLONE_NEWUTS and not any(n.type == "uts" for n in linux.namespaces):
            raise InvalidArgument("a host name needs a UTS namespace of the container's own")
        yield SetNames(spec.hostname, spec.domainname)
    propagation = _root_propagation(linux.rootfs_propagation)
    yield MakeMountsSlave(propagation if propagation & _SHARING else _SLAVE)
    root = os.path.join(bundle, spec.root.path)
    if propagation & _SHARING:
        yield MakePlacePrivate(root)
    yield MountRoot(root, rootfs)
    apart = made & ns.CLONE_NEWCGROUP or any(one.type == "cgroup" for one in linux.namespaces)
    mounts = labelled(mapped(spec.mounts, linux), linux.mount_label)
    plain, cgroups = mount_ops(mounts, bundle, bool(apart), unified)
    yield from plain
    yield from device_ops(spec, linux)
    yield from console_ops(spec.process, console_size, bind=True, plain=plain_terminal)
    yield from sysctl_ops(linux)
    yield from finish_dev(spec.mounts)
    yield from (MaskPath(path) for path in dict.fromkeys(linux.masked_paths))
    yield from (ReadOnlyPath(path) for path in linux.readonly_paths)
    yield from join
    yield from cgroups
    if hooks.prestart or hooks.create_runtime:
        yield AwaitHooks()
    yield from _hook_ops(hooks.create_container, state, "creating", "createContainer")
    yield PivotRoot()
    if spec.root.readonly or propagation:
        yield FinishRoot(spec.root.readonly, propagation)


_SLAVE = propagation_flags("rslave")
_SHARING = propagation_flags("shared") | propagation_flags("private")


def _root_propagation(name: str) -> int:
    if not name:
        return 0
    try:
        return propagation_flags(name)
    except KeyError:
        raise InvalidArgument(f"unknown rootfsPropagation {name!r}") from None


def _hook_ops(hooks: tuple[Hook, ...], state: State, status: str, kind: str) -> tuple[Op, ...]:
    if not hooks:
        return ()
    return (RunHooks(hooks, msgspec.structs.replace(state, status=status), kind),)
