from __future__ import annotations

import json
import os
from typing import Any

import msgspec
import pytest

from wherry.engine.records import MountPoint
from wherry.engine.spec import (
    HostFacts,
    Joined,
    NameFiles,
    ResolvedDevices,
    ResolvedUser,
    SpecInputs,
    build_spec,
    resolve_devices,
)
from wherry.engine.spec.capabilities import DEFAULT
from wherry.errors import InternalError, InvalidArgument, NotSupported
from wherry.model.container import (
    ContainerConfig,
    DeviceMapping,
    HostConfig,
    ThrottleDevice,
    TmpfsOptions,
    Ulimit,
    WeightDevice,
)
from wherry.model.docker_defaults import MASKED_PATHS, READONLY_PATHS
from wherry.model.runtime_spec import LinuxDeviceCgroup, Mount, Spec
from wherry.sys.caps import NAMES

FACTS = HostFacts(
    cgroup_mode="unified", kernel=(6, 1), machine="x86_64", capabilities=NAMES, cpus=4
)


def spec(
    host: HostConfig | None = None, config: ContainerConfig | None = None, **more: Any
) -> Spec:
    inputs = SpecInputs(
        container_id="f" * 64,
        config=config or ContainerConfig(cmd=("sh",)),
        host=host or HostConfig(),
        facts=more.pop("facts", FACTS),
        root_path="/rootfs",
        cgroup_path="/wherry/ffff",
        **more,
    )
    return build_spec(inputs)


def mounts_of(made: Spec) -> dict[str, Mount]:
    return {mount.destination: mount for mount in made.mounts}


def namespaces_of(made: Spec) -> dict[str, str]:
    assert made.linux
    return {namespace.type: namespace.path for namespace in made.linux.namespaces}


def capabilities(made: Spec) -> set[str]:
    assert made.process
    assert made.process.capabilities
    return set(made.process.capabilities.bounding)


def test_the_default_container() -> None:
    made = spec(config=ContainerConfig(entrypoint=("/e",), cmd=("a",)), hostname="box")
    assert made.process
    assert made.linux
    assert made.process.args == ("/e", "a")
    assert made.process.cwd == "/"
    assert made.hostname == "box"
    assert made.root == msgspec.convert({"path": "/rootfs"}, type=type(made.root))
    assert set(namespaces_of(made)) == {"mount", "network", "uts", "pid", "ipc", "cgroup"}
    assert capabilities(made) == set(DEFAULT)
    assert made.linux.masked_paths == MASKED_PATHS
    assert made.linux.readonly_paths == READONLY_PATHS
    assert made.linux.seccomp is not None
    assert made.linux.seccomp.default_action == "SCMP_ACT_ERRNO"
    assert not made.process.no_new_privileges
    assert made.linux.cgroups_path == "/wherry/ffff"
    assert [mount.destination for mount in made.mounts] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
    ]


def test_what_is_made_is_the_specifications_json() -> None:
    document = json.loads(msgspec.json.encode(spec(HostConfig(memory=8 << 20, pids_limit=5))))
    assert document["ociVersion"] == "1.2.0"
    assert document["linux"]["resources"]["memory"] == {"limit": 8 << 20, "swap": 16 << 20}
    assert document["linux"]["resources"]["pids"] == {"limit": 5}
    assert document["process"]["capabilities"]["bounding"][0] == "CAP_CHOWN"


def test_environment() -> None:
    config = ContainerConfig(cmd=("x",), env=("A=1", "PATH=/mine"), tty=True)
    process = spec(
        config=config,
        hostname="box",
        extra_env=("HTTP_PROXY=p", "A=0"),
        user=ResolvedUser(home="/home/me"),
    ).process
    assert process
    assert process.env == (
        "PATH=/mine",
        "HOSTNAME=box",
        "TERM=xterm",
        "HTTP_PROXY=p",
        "A=1",
        "HOME=/home/me",
    )


def test_home_that_was_given_stays() -> None:
    process = spec(config=ContainerConfig(cmd=("x",), env=("HOME=/x",))).process
    assert process
    assert process.env[-1] == "HOME=/x"


def test_terminal_and_its_size() -> None:
    process = spec(HostConfig(console_size=(24, 80)), ContainerConfig(cmd=("x",), tty=True)).process
    assert process
    assert process.terminal
    assert process.console_size
    assert (process.console_size.height, process.console_size.width) == (24, 80)


def test_another_user_has_a_bounding_set_only() -> None:
    user = ResolvedUser(uid=33, gid=34, additional_gids=(34, 6))
    process = spec(user=user).process
    assert process
    assert process.capabilities
    assert set(process.capabilities.bounding) == set(DEFAULT)
    assert process.capabilities.effective == process.capabilities.permitted == ()
    assert (process.user.uid, process.user.additional_gids) == (33, (34, 6))


@pytest.mark.parametrize(
    ("added", "dropped", "expected"),
    [
        (("SYS_ADMIN",), (), {*DEFAULT, "CAP_SYS_ADMIN"}),
        (("cap_net_admin",), ("CHOWN",), {*DEFAULT, "CAP_NET_ADMIN"} - {"CAP_CHOWN"}),
        ((), ("ALL",), set()),
        (("KILL",), ("ALL",), {"CAP_KILL"}),
        (("ALL",), (), set(NAMES)),
        (("ALL",), ("CAP_SYS_ADMIN",), set(NAMES) - {"CAP_SYS_ADMIN"}),
        (("CHOWN",), ("CHOWN",), set(DEFAULT)),
    ],
)
def test_capabilities_added_and_dropped(
    added: tuple[str, ...], dropped: tuple[str, ...], expected: set[str]
) -> None:
    assert capabilities(spec(HostConfig(cap_add=added, cap_drop=dropped))) == expected


def test_the_engine_cannot_give_what_it_lacks() -> None:
    facts = msgspec.structs.replace(FACTS, capabilities=("CAP_CHOWN", "CAP_KILL"))
    host = HostConfig(cap_add=("SYS_ADMIN",))
    assert capabilities(spec(host, facts=facts)) == {"CAP_CHOWN", "CAP_KILL"}


def test_capabilities_open_the_seccomp_filter() -> None:
    made = spec(HostConfig(cap_add=("SYS_ADMIN",)))
    assert made.linux
    assert made.linux.seccomp
    allowed = {name for rule in made.linux.seccomp.syscalls for name in rule.names}
    assert "mount" in allowed


def test_privileged() -> None:
    host = HostConfig(privileged=True)
    made = spec(host, devices=resolve_devices(host))
    assert made.linux
    assert made.linux.resources
    assert capabilities(made) == set(NAMES)
    assert made.linux.seccomp is None
    assert made.linux.masked_paths == made.linux.readonly_paths == ()
    assert "ro" not in mounts_of(made)["/sys"].options
    assert "ro" not in mounts_of(made)["/sys/fs/cgroup"].options
    assert made.linux.resources.devices == (LinuxDeviceCgroup(allow=True, access="rwm"),)
    assert "/dev/null" in {node.path for node in made.linux.devices}


@pytest.mark.parametrize(
    ("option", "expected"),
    [("seccomp=unconfined", None), ("seccomp:unconfined", None), ("seccomp=builtin", "ERRNO")],
)
def test_seccomp_options(option: str, expected: str | None) -> None:
    made = spec(HostConfig(security_opt=(option,)))
    assert made.linux
    seccomp = made.linux.seccomp
    assert (seccomp and seccomp.default_action) == (expected and f"SCMP_ACT_{expected}")


def test_a_seccomp_profile_of_the_users_own() -> None:
    profile = json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []})
    for privileged in (False, True):
        host = HostConfig(security_opt=(f"seccomp={profile}",), privileged=privileged)
        made = spec(host)
        assert made.linux
        assert made.linux.seccomp
        assert made.linux.seccomp.default_action == "SCMP_ACT_ALLOW"


def test_other_security_options() -> None:
    options = (
        "no-new-privileges",
        "label=disable",
        "systempaths=unconfined",
        "apparmor=unconfined",
    )
    made = spec(HostConfig(security_opt=options))
    assert made.process
    assert made.linux
    assert made.process.no_new_privileges
    assert made.linux.masked_paths == made.linux.readonly_paths == ()
    off = spec(HostConfig(security_opt=("no-new-privileges=false",))).process
    assert off
    assert not off.no_new_privileges


@pytest.mark.parametrize("text", ["writable-cgroups", "writable-cgroups=maybe", "bogus=1"])
def test_security_options_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid --security-opt"):
        spec(HostConfig(security_opt=(text,)))


def test_paths_by_the_clients_own_lists() -> None:
    made = spec(HostConfig(masked_paths=(), readonly_paths=("/proc/x",)))
    assert made.linux
    assert (made.linux.masked_paths, made.linux.readonly_paths) == ((), ("/proc/x",))


def test_apparmor_needs_a_kernel_that_has_it() -> None:
    host = HostConfig(security_opt=("apparmor=mine",))
    with pytest.raises(NotSupported, match="AppArmor is not enabled"):
        spec(host)
    process = spec(host, facts=msgspec.structs.replace(FACTS, apparmor=True)).process
    assert process
    assert process.apparmor_profile == "mine"


def test_which_apparmor_profile_a_container_has() -> None:
    facts = msgspec.structs.replace(FACTS, apparmor=True)

    def profile(loaded: bool = True, privileged: bool = False, *options: str) -> str:
        host = HostConfig(privileged=privileged, security_opt=options)
        process = spec(host, facts=facts, has_default_apparmor=loaded).process
        assert process
        return process.apparmor_profile

    assert profile() == "wherry-default"
    assert profile(False) == ""  # there is no parser: documented, and told by info
    assert profile(True, True) == ""
    assert profile(True, False, "apparmor=unconfined") == ""
    assert profile(True, True, "apparmor=mine") == "mine"
    assert profile(False, False, "apparmor=wherry-default") == "wherry-default"
    without = spec(HostConfig(), has_default_apparmor=True).process
    assert without
    assert without.apparmor_profile == ""


def test_shared_namespaces() -> None:
    host = HostConfig(
        network_mode="host", pid_mode="host", ipc_mode="host", uts_mode="host", cgroupns_mode="host"
    )
    made = spec(host, hostname="box")
    assert set(namespaces_of(made)) == {"mount"}
    assert made.hostname == ""
    assert made.linux
    assert made.linux.sysctl == {}
    assert mounts_of(made)["/dev/shm"].source == "/dev/shm"


def test_namespaces_of_another_container() -> None:
    host = HostConfig(network_mode="container:a", pid_mode="container:a", ipc_mode="container:a")
    joined = Joined(network="/n", pid="/p", ipc="/i", shm="/s")
    made = spec(host, joined=joined)
    paths = namespaces_of(made)
    assert (paths["network"], paths["pid"], paths["ipc"]) == ("/n", "/p", "/i")
    assert mounts_of(made)["/dev/shm"].source == "/s"
    with pytest.raises(InternalError, match="cannot share the network namespace of a"):
        spec(host)


def test_ipc_none_has_no_shared_memory() -> None:
    assert "/dev/shm" not in mounts_of(spec(HostConfig(ipc_mode="none")))


def test_shm_size() -> None:
    assert "size=67108864" in mounts_of(spec())["/dev/shm"].options
    assert "size=1024" in mounts_of(spec(HostConfig(shm_size=1024)))["/dev/shm"].options


def bind(source: str, destination: str, **more: Any) -> MountPoint:
    return MountPoint(type="bind", source=source, destination=destination, **more)


def test_mounts_of_the_user() -> None:
    points = (
        bind("/host/deep", "/a/b/c"),
        bind("/host/ro", "/a", rw=False, propagation="rslave"),
        MountPoint(type="volume", source="/vol", destination="/dev/shm", name="v"),
        bind("/host/hosts", "/etc/hosts", recursive=False),
    )
    files = NameFiles(hosts="/f/hosts", resolv_conf="/f/resolv", hostname="/f/name")
    made = spec(mounts=points, name_files=files)
    found = mounts_of(made)
    assert found["/a"].options == ("rbind", "rro", "rslave")
    assert found["/dev/shm"].source == "/vol"
    assert found["/etc/hosts"] == Mount(
        destination="/etc/hosts", type="bind", source="/host/hosts", options=("bind", "rprivate")
    )
    assert found["/etc/resolv.conf"].source == "/f/resolv"
    order = [mount.destination for mount in made.mounts]
    assert order.index("/a") < order.index("/a/b/c")
    assert len(order) == len(set(order))
    assert made.linux
    assert made.linux.rootfs_propagation == "slave"


def test_read_only_binds_of_old_kernels() -> None:
    facts = msgspec.structs.replace(FACTS, kernel=(5, 10))
    made = spec(mounts=(bind("/x", "/y", rw=False),), facts=facts)
    assert mounts_of(made)["/y"].options == ("rbind", "ro", "rprivate")


def test_a_dev_of_the_users_own_keeps_nothing_of_the_default_one() -> None:
    made = spec(mounts=(bind("/dev", "/dev"),))
    destinations = [mount.destination for mount in made.mounts]
    assert [d for d in destinations if d.startswith("/dev")] == ["/dev"]


def test_tmpfs() -> None:
    host = HostConfig(tmpfs={"/run": "", "/tmp/": "exec,size=1m,mode=1777"})
    point = MountPoint(
        type="tmpfs",
        source="",
        destination="/scratch",
        tmpfs=TmpfsOptions(size_bytes=4096, mode=0o700, options=(("exec",), ("nr_inodes", "5"))),
    )
    found = mounts_of(spec(host, mounts=(point,)))
    assert found["/run"].options == ("noexec", "nosuid", "nodev")
    assert found["/tmp"].options == ("nosuid", "nodev", "exec", "size=1m", "mode=1777")
    assert found["/scratch"].options == (
        "nosuid",
        "nodev",
        "exec",
        "nr_inodes=5",
        "size=4096",
        "mode=700",
    )


def test_a_read_only_root() -> None:
    made = spec(HostConfig(readonly_rootfs=True))
    assert made.root
    assert made.root.readonly
    writable = [m.destination for m in made.mounts if "ro" not in m.options]
    assert writable == ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/dev/shm"]


def test_devices() -> None:
    host = HostConfig(
        devices=(DeviceMapping(path_on_host="/dev/null", path_in_container="/dev/nothing"),),
        device_cgroup_rules=("c 10:* rw",),
    )
    resolved = resolve_devices(host)
    made = spec(host, devices=resolved)
    assert made.linux
    assert made.linux.resources
    (node,) = made.linux.devices
    assert (node.path, node.type, node.major, node.minor) == ("/dev/nothing", "c", 1, 3)
    assert made.linux.resources.devices[-2:] == (
        LinuxDeviceCgroup(allow=True, type="c", major=1, minor=3, access="rwm"),
        LinuxDeviceCgroup(allow=True, type="c", major=10, access="rw"),
    )
    assert made.linux.resources.devices[0] == LinuxDeviceCgroup(allow=False, access="rwm")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            HostConfig(devices=(DeviceMapping(path_on_host="/dev/no-such"),)),
            'custom device "/dev/no-such": no such file or directory',
        ),
        (HostConfig(devices=(DeviceMapping(path_on_host="/etc/passwd"),)), "not a device node"),
        (
            HostConfig(devices=(DeviceMapping(path_on_host="/dev/null", cgroup_permissions="x"),)),
            "invalid device mode: x",
        ),
        (HostConfig(device_cgroup_rules=("c 1:3",)), "invalid device cgroup rule format"),
        (
            HostConfig(blkio_device_read_bps=(ThrottleDevice(path="/dev/null", rate=1),)),
            "not a block device",
        ),
    ],
)
def test_devices_that_are_none(host: HostConfig, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        resolve_devices(host)


def test_all_limits() -> None:
    host = HostConfig(
        memory=100,
        memory_swap=-1,
        memory_reservation=50,
        memory_swappiness=10,
        nano_cpus=1_500_000_000,
        cpu_shares=512,
        cpuset_cpus="0-1",
        cpuset_mems="0",
        pids_limit=-1,
        blkio_weight=300,
        blkio_weight_device=(WeightDevice(path="/dev/a", weight=200),),
        blkio_device_write_iops=(ThrottleDevice(path="/dev/a", rate=7),),
        oom_kill_disable=True,
    )
    made = spec(host, devices=ResolvedDevices(numbers={"/dev/a": (8, 0)}))
    assert made.linux
    resources = made.linux.resources
    assert resources
    assert resources.memory
    assert resources.cpu
    assert resources.pids
    assert resources.block_io
    assert (resources.memory.limit, resources.memory.swap) == (100, -1)
    assert (resources.memory.reservation, resources.memory.swappiness) == (50, 10)
    assert resources.memory.disable_oom_killer is True
    assert (resources.cpu.period, resources.cpu.quota) == (100_000, 150_000)
    assert (resources.cpu.shares, resources.cpu.cpus, resources.cpu.mems) == (512, "0-1", "0")
    assert resources.pids.limit == -1
    assert resources.block_io.weight == 300
    assert resources.block_io.weight_device[0].weight == 200
    assert resources.block_io.throttle_write_iops_device[0].rate == 7


def test_limits_that_the_kernel_lacks_are_left_out() -> None:
    lacks = frozenset({"swap", "swappiness", "pids", "cpuset"})
    host = HostConfig(memory=100, memory_swappiness=10, pids_limit=5, cpuset_cpus="0")
    made = spec(host, facts=msgspec.structs.replace(FACTS, lacks=lacks))
    assert made.linux
    assert made.linux.resources
    assert made.linux.resources.memory
    assert made.linux.resources.memory.limit == 100
    assert made.linux.resources.memory.swap is made.linux.resources.memory.swappiness is None
    assert made.linux.resources.pids is made.linux.resources.cpu is None


def test_sysctls_and_their_defaults() -> None:
    made = spec(HostConfig(sysctls={"net.ipv4.ping_group_range": "1 0", "kernel.msgmax": "9"}))
    assert made.linux
    assert made.linux.sysctl == {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "1 0",
        "kernel.msgmax": "9",
    }


def test_ulimits() -> None:
    ulimits = (Ulimit(name="nofile", soft=10, hard=20), Ulimit(name="core", soft=-1, hard=-1))
    process = spec(HostConfig(ulimits=ulimits)).process
    assert process
    assert [(r.type, r.soft, r.hard) for r in process.rlimits] == [
        ("RLIMIT_NOFILE", 10, 20),
        ("RLIMIT_CORE", 2**64 - 1, 2**64 - 1),
    ]


def test_annotations_and_init() -> None:
    assert spec().annotations == {}
    made = spec(HostConfig(annotations={"a": "b"}), use_init=True)
    assert made.annotations == {"a": "b", "org.wherry.init": "true"}


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert msgspec.json.encode(spec()) == msgspec.json.encode(spec())


def test_pids_of_this_process_are_not_needed() -> None:
    """Building is pure: it works without looking at this host's files."""
    before = os.listdir("/proc/self/fd")
    spec()
    assert os.listdir("/proc/self/fd") == before
