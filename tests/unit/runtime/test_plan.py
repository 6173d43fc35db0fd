"""What is decided about a container, without privileges and without making anything."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import (
    OCI_VERSION,
    Box,
    Capabilities,
    CpuAffinity,
    Hook,
    Hooks,
    IdMapping,
    IoPriority,
    Linux,
    LinuxDevice,
    LinuxNamespace,
    LinuxPersonality,
    LinuxSeccomp,
    LinuxSyscall,
    LinuxTimeOffset,
    Mount,
    Process,
    Rlimit,
    Root,
    Scheduler,
    Spec,
    User,
)
from wherry.runtime.ops.cgroups import MountCgroups
from wherry.runtime.ops.console import OpenConsole
from wherry.runtime.ops.devices import MakeDevice, MakeLink
from wherry.runtime.ops.kernel import (
    AwaitMappings,
    BecomeRoot,
    JoinCgroup,
    JoinContainer,
    JoinNamespace,
    JoinPassedNetwork,
    SetAffinity,
    SetIoPriority,
    SetPersonality,
    SetRlimit,
    SetScheduler,
    WriteSysctl,
)
from wherry.runtime.ops.listener import LoadNotifyingSeccomp
from wherry.runtime.ops.mounts import BindMount, MountFilesystem, MountRoot, PivotRoot, Remount
from wherry.runtime.ops.program import (
    AnnounceReady,
    BecomeUser,
    CloseDescriptors,
    DropAdmin,
    Execute,
    FindProgram,
    LoadSeccomp,
    NoNewPrivileges,
)
from wherry.runtime.plan.planning import CgroupLayout, Filters, Plan, plan_container, plan_exec
from wherry.runtime.plan.process import parse_cpus
from wherry.snapshot.api import OverlayMount
from wherry.sys import namespaces as ns

LEGACY = CgroupLayout(False, ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"))
UNIFIED = CgroupLayout(True)
ALLOW_ALL = LinuxSeccomp(default_action="SCMP_ACT_ALLOW")


def process(**changes: Any) -> Process:
    return Process(**{"cwd": "/", "args": ("true",), "env": ("PATH=/bin",)} | changes)


def spec(linux: dict[str, Any] | None = None, **changes: Any) -> Spec:
    namespaces = tuple(LinuxNamespace(type=kind) for kind in ("mount", "pid", "cgroup", "uts"))
    section = Linux(**{"namespaces": namespaces, "cgroups_path": "/a/b"} | (linux or {}))
    whole = {"oci_version": OCI_VERSION, "root": Root(path="rootfs"), "process": process()}
    return Spec(**whole | {"linux": section} | changes)


def planned(wanted: Spec, layout: CgroupLayout = LEGACY, **options: Any) -> Plan:
    return plan_container(
        wanted,
        "name",
        "/bundle",
        rootfs=OverlayMount(lower=("/layer",)),
        layout=layout,
        filters=Filters(),
        **options,
    )


def kinds(plan: Plan) -> list[type]:
    return [type(op) for op in plan.ops]


def only(plan: Plan, kind: type) -> Any:
    found = [op for op in plan.ops if type(op) is kind]
    assert len(found) == 1
    return found[0]


def test_every_operation_can_say_what_it_does() -> None:
    mounts = (
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(destination="/x", type="bind", source="x"),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"),
    )
    wanted = spec({"masked_paths": ("/a",), "readonly_paths": ("/b",)}, mounts=mounts)
    for op in planned(wanted).ops:
        words = op.describe()
        assert words
        assert words == words.strip()
        assert not words.endswith(".")


def test_the_order_that_safety_depends_on() -> None:
    wanted = spec(
        {"seccomp": ALLOW_ALL},
        process=process(no_new_privileges=True, terminal=True),
    )
    order = kinds(planned(wanted))
    expected = [
        MountRoot,
        OpenConsole,
        JoinCgroup,
        PivotRoot,
        CloseDescriptors,
        NoNewPrivileges,
        BecomeUser,
        FindProgram,
        AnnounceReady,
        LoadSeccomp,
        Execute,
    ]
    assert [kind for kind in order if kind in expected] == expected


def test_groups_are_mounted_last_and_after_they_are_joined() -> None:
    mounts = (
        Mount(destination="/sys", type="sysfs", source="sysfs"),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"),
        Mount(destination="/data", type="bind", source="/data"),
    )
    order = kinds(planned(spec(mounts=mounts)))
    assert order.index(BindMount) < order.index(JoinCgroup) < order.index(MountCgroups)


def test_what_is_mounted_below_the_groups_is_mounted_after_them() -> None:
    mounts = (
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"),
        Mount(destination="/sys/fs/cgroup/x", type="bind", source="/below"),
        Mount(destination="/sys/fs/cgroups", type="bind", source="/beside"),
    )
    ops = planned(spec(mounts=mounts)).ops
    order = [
        op.source if isinstance(op, BindMount) else "groups"
        for op in ops
        if isinstance(op, BindMount | MountCgroups)
    ]
    assert order == ["/beside", "groups", "/below"]


def test_on_version_1_the_process_enters_its_groups_and_then_their_namespace() -> None:
    plan = planned(spec())
    join = only(plan, JoinCgroup)
    assert join.tasks == ("/sys/fs/cgroup/cpu/a/b/tasks", "/sys/fs/cgroup/memory/a/b/tasks")
    assert join.unshare
    assert not plan.clone_flags & ns.CLONE_NEWCGROUP
    assert not plan.moved


def test_on_version_2_it_begins_in_its_group() -> None:
    plan = planned(spec(), UNIFIED)
    assert JoinCgroup not in kinds(plan)
    assert plan.clone_flags & ns.CLONE_NEWCGROUP


def test_a_user_namespace_is_moved_from_outside() -> None:
    mappings = (IdMapping(container_id=0, host_id=1000, size=10),)
    namespaces = (LinuxNamespace(type="mount"), LinuxNamespace(type="user"))
    linux = {"namespaces": namespaces, "uid_mappings": mappings, "gid_mappings": mappings}
    plan = planned(spec(linux))
    assert plan.moved
    assert only(plan, JoinCgroup).tasks == ()
    assert AwaitMappings in kinds(plan)
    assert plan.clone_flags == ns.CLONE_NEWNS | ns.CLONE_NEWUSER


def test_namespaces_to_join() -> None:
    namespaces = (
        LinuxNamespace(type="mount"),
        LinuxNamespace(type="pid", path="/proc/7/ns/pid"),
        LinuxNamespace(type="network", path="/run/netns/x"),
        LinuxNamespace(type="user", path="/proc/7/ns/user"),
    )
    plan = planned(spec({"namespaces": namespaces}))
    assert plan.clone_flags == ns.CLONE_NEWNS
    assert [path for _, path in plan.passage.joined] == [one.path for one in namespaces[1:]]
    assert not plan.own_pids
    assert JoinNamespace not in kinds(plan)
    assert BecomeRoot in kinds(plan)


def test_only_a_pid_namespace_is_entered_beforehand_without_a_user_namespace() -> None:
    namespaces = (
        LinuxNamespace(type="mount"),
        LinuxNamespace(type="pid", path="/proc/7/ns/pid"),
        LinuxNamespace(type="network", path="/run/netns/x"),
    )
    plan = planned(spec({"namespaces": namespaces}))
    assert plan.passage.joined == ((ns.CLONE_NEWPID, "/proc/7/ns/pid"),)
    assert only(plan, JoinNamespace).path == "/run/netns/x"


def test_a_time_namespace_with_offsets_is_made_beforehand() -> None:
    namespaces = (LinuxNamespace(type="mount"), LinuxNamespace(type="time"))
    without = planned(spec({"namespaces": namespaces}))
    assert without.clone_flags == ns.CLONE_NEWNS | ns.CLONE_NEWTIME
    offsets = {"boottime": LinuxTimeOffset(secs=-1, nanosecs=5)}
    plan = planned(spec({"namespaces": namespaces, "time_offsets": offsets}))
    assert plan.clone_flags == ns.CLONE_NEWNS
    assert plan.passage.time_offsets == "boottime -1 5\n"


NOTIFY = LinuxSyscall(names=("mkdir",), action="SCMP_ACT_NOTIFY")


def test_a_listener_is_connected_to_and_told_of() -> None:
    profile = LinuxSeccomp(
        default_action="SCMP_ACT_ALLOW",
        listener_path="/x",
        listener_metadata="data",
        syscalls=(NOTIFY,),
    )
    plan = planned(spec({"seccomp": profile}))
    assert plan.listener == "/x"
    assert only(plan, LoadNotifyingSeccomp).metadata == "data"


def test_a_passed_network_namespace_wins() -> None:
    namespaces = (
        LinuxNamespace(type="mount"),
        LinuxNamespace(type="network", path="/run/netns/x"),
    )
    order = kinds(planned(spec({"namespaces": namespaces}), netns=True))
    assert JoinPassedNetwork in order
    assert JoinNamespace not in order


def test_mounts_become_operations() -> None:
    mounts = (
        Mount(destination="/proc", type="proc", source="proc", options=("nosuid",)),
        Mount(destination="tmp//x/../y", type="tmpfs", source="tmpfs"),
        Mount(destination="/bind", type="none", source="rel", options=("rbind", "ro")),
        Mount(destination="/bind", options=("remount", "rw")),
    )
    plan = planned(spec(mounts=mounts))
    filesystems = [op for op in plan.ops if isinstance(op, MountFilesystem)]
    assert [(op.target, op.follow) for op in filesystems] == [("/proc", False), ("/tmp/y", True)]
    assert only(plan, BindMount).source == "/bundle/rel"
    assert only(plan, Remount).target == "/bind"


def test_default_devices_and_links() -> None:
    device = LinuxDevice(type="c", path="/dev/null", major=1, minor=3, file_mode=0o600)
    plan = planned(spec({"devices": (device,)}))
    made = {op.path: op for op in plan.ops if isinstance(op, MakeDevice)}
    assert set(made) == {f"/dev/{n}" for n in ("null", "zero", "full", "random", "urandom", "tty")}
    assert made["/dev/null"].mode == 0o600
    links = {op.path for op in plan.ops if isinstance(op, MakeLink)}
    assert {"/dev/fd", "/dev/stdin", "/dev/ptmx"} <= links


def test_the_hosts_dev_is_left_alone() -> None:
    mounts = (Mount(destination="/dev", type="bind", source="/dev", options=("rbind",)),)
    order = kinds(planned(spec(mounts=mounts)))
    assert MakeDevice not in order
    assert MakeLink not in order


@pytest.mark.parametrize(
    ("asked", "configured", "expected"),
    [((1, 2), Box(height=3, width=4), (1, 2)), (None, Box(height=3, width=4), (3, 4))],
)
def test_the_terminals_first_size(asked: Any, configured: Box, expected: Any) -> None:
    wanted = spec(process=process(terminal=True, console_size=configured))
    assert only(planned(wanted, console_size=asked), OpenConsole).size == expected


def test_admin_is_kept_only_to_load_the_filter() -> None:
    plan = planned(spec({"seccomp": ALLOW_ALL}))
    assert only(plan, BecomeUser).keep_admin
    assert kinds(plan).index(LoadSeccomp) < kinds(plan).index(DropAdmin)
    everything = Capabilities(effective=("CAP_SYS_ADMIN",), permitted=("CAP_SYS_ADMIN",))
    for wanted in (process(no_new_privileges=True), process(capabilities=everything)):
        plan = planned(spec({"seccomp": ALLOW_ALL}, process=wanted))
        assert not only(plan, BecomeUser).keep_admin
        assert DropAdmin not in kinds(plan)


def test_ambient_capabilities_are_only_such_as_are_permitted_and_inheritable() -> None:
    capabilities = Capabilities(
        permitted=("CAP_CHOWN",),
        inheritable=("CAP_CHOWN", "CAP_KILL"),
        ambient=("CAP_CHOWN", "CAP_KILL"),
    )
    become = only(planned(spec(process=process(capabilities=capabilities))), BecomeUser)
    assert become.ambient == 1


def test_limits_priorities_and_schedulers() -> None:
    wanted = process(
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=5, hard=2**64 - 1),),
        io_priority=IoPriority(io_class="IOPRIO_CLASS_BE", priority=4),
        scheduler=Scheduler(policy="SCHED_BATCH", nice=3, flags=("SCHED_FLAG_RESET_ON_FORK",)),
        exec_cpu_affinity=CpuAffinity(final="0-2,5"),
    )
    plan = planned(spec({"personality": LinuxPersonality(domain="LINUX32")}, process=wanted))
    limit = only(plan, SetRlimit)
    assert (limit.soft, limit.hard) == (5, -1)
    assert only(plan, SetIoPriority).io_class == 2
    scheduler = only(plan, SetScheduler)
    assert (scheduler.policy, scheduler.nice, scheduler.flags) == (3, 3, 1)
    assert 8 in only(plan, SetAffinity).cpus  # the list is for execs only
    assert only(plan, SetPersonality).persona == 8


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2", "3-x"])
def test_processor_lists_that_are_malformed(text: str) -> None:
    with pytest.raises(InvalidArgument, match="malformed"):
        parse_cpus(text)


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("net.ipv4.ip_forward", "network"),
        ("net/ipv4/conf/eth0.1/forwarding", "network"),
        ("kernel.shmmax", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_sysctls_need_their_namespace(name: str, namespace: Any) -> None:
    owned = (LinuxNamespace(type="mount"), LinuxNamespace(type=namespace))
    plan = planned(spec({"namespaces": owned, "sysctl": {name: "1"}}))
    assert only(plan, WriteSysctl).value == "1"
    with pytest.raises(InvalidArgument, match="is not in a separate kernel namespace"):
        planned(spec({"namespaces": owned[:1], "sysctl": {name: "1"}}))


def test_hooks_of_the_hosts_side_are_told_apart() -> None:
    one, two = Hook(path="/one"), Hook(path="/two")
    plan = planned(spec(hooks=Hooks(prestart=(one,), create_runtime=(two,))))
    assert plan.hooks.prestart + plan.hooks.create_runtime == (one, two)


def test_an_exec_joins_what_the_container_has() -> None:
    plan = plan_exec(
        process(terminal=True),
        spec({"seccomp": ALLOW_ALL}),
        "name",
        "/bundle",
        cgroup="/a/b",
        layout=LEGACY,
        filters=Filters(),
    )
    join = only(plan, JoinContainer)
    assert join.flags == ns.CLONE_NEWNS | ns.CLONE_NEWCGROUP | ns.CLONE_NEWUTS
    order = kinds(plan)
    assert order.index(JoinCgroup) < order.index(JoinContainer) < order.index(OpenConsole)
    assert LoadSeccomp in order
    assert MountRoot not in order
    assert not only(plan, OpenConsole).bind


def test_filters_are_compiled_once() -> None:
    filters = Filters()
    first = filters.program(ALLOW_ALL)
    assert filters.compiled == ALLOW_ALL
    assert filters.program(LinuxSeccomp(default_action="SCMP_ACT_ALLOW")) is first
    for number in range(Filters.LIMIT):
        filters.remember(LinuxSeccomp(default_action=f"{number}"), b"x")
    assert filters.program(ALLOW_ALL) is not first


@pytest.mark.parametrize(
    ("linux", "changes", "text"),
    [
        ({}, {"process": None}, "no process or no root"),
        ({}, {"root": None}, "no process or no root"),
        ({}, {"process": process(args=())}, "no command specified"),
        ({}, {"process": process(cwd="x")}, "not an absolute path"),
        ({}, {"process": process(env=("A=\0",))}, "holds a zero byte"),
        (
            {"namespaces": (), "masked_paths": ("/proc/kcore",)},
            {},
            "unable to restrict sys entries without a private MNT namespace",
        ),
        (
            {"namespaces": (LinuxNamespace(type="user", path="/proc/1/ns/user"),)},
            {},
            "a user namespace needs a mount namespace",
        ),
        (
            {"namespaces": (LinuxNamespace(type="mount"), LinuxNamespace(type="mount"))},
            {},
            "lists the mount namespace twice",
        ),
        (
            {"namespaces": (LinuxNamespace(type="mount"), LinuxNamespace(type="user"))},
            {},
            "needs uidMappings",
        ),
        (
            {"uid_mappings": (IdMapping(container_id=0, host_id=0, size=1),)},
            {},
            "need a user namespace",
        ),
        (
            {
                "namespaces": (
                    LinuxNamespace(type="mount"),
                    LinuxNamespace(type="ipc", path="proc/1/ns/ipc"),
                )
            },
            {},
            "is not absolute",
        ),
        ({"namespaces": (LinuxNamespace(type="mount"),)}, {"hostname": "x"}, "needs a UTS"),
        ({"rootfs_propagation": "odd"}, {}, "unknown rootfsPropagation 'odd'"),
        ({"sysctl": {"net.../x": "1"}}, {}, "is not in a separate|malformed"),
        ({"sysctl": {"net/../kernel/panic": "1"}}, {}, "malformed"),
        ({"devices": (LinuxDevice(type="x", path="/dev/x"),)}, {}, "unknown type 'x'"),
        ({"personality": LinuxPersonality(domain="BSD")}, {}, "unknown personality"),
        ({}, {"mounts": (Mount(destination="/", type="tmpfs"),)}, "root itself"),
        ({}, {"mounts": (Mount(destination="/x"),)}, "has no type"),
        ({}, {"mounts": (Mount(destination="/x", type="bind"),)}, "has no source"),
        (
            {},
            {"mounts": (Mount(destination="/x", type="bind", source="y", options=("idmap",)),)},
            "has no uidMappings",
        ),
        ({"time_offsets": {"boottime": LinuxTimeOffset(secs=1)}}, {}, "new time namespace"),
        (
            {"seccomp": LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=(NOTIFY,))},
            {},
            "needs a listenerPath",
        ),
        (
            {"seccomp": LinuxSeccomp(default_action="SCMP_ACT_NOTIFY", listener_path="/x")},
            {},
            "cannot be for sendmsg",
        ),
    ],
)
def test_what_is_wrong_is_said(linux: Any, changes: Any, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        planned(spec(linux, **changes))


def test_a_numeric_user_needs_no_name() -> None:
    become = only(planned(spec(process=process(user=User(uid=7, gid=8)))), BecomeUser)
    assert (become.uid, become.gid, become.umask) == (7, 8, 0o022)
