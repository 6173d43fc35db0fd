"""Options of containers, each down to what the kernel says of the process that has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.engine.spec import host_facts
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import DeviceMapping, DeviceRequest, HostConfig, Ulimit
from wherry.sys.caps import NUMBERS

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def shown(engine: TestEngine, *cmd: str, config: Any = None, **host: Any) -> str:
    """What a command prints in a container with these options."""
    wanted = HostConfig(**{"network_mode": "none", **host})
    outcome = engine.run(*cmd, host=wanted, **(config or {}))
    assert outcome.code == 0, outcome.stderr.decode()
    return outcome.stdout.decode().strip()


def status(engine: TestEngine, field: str, **host: Any) -> str:
    return shown(engine, "grep", f"^{field}:", "/proc/self/status", **host).split()[1]


def capabilities(engine: TestEngine, **host: Any) -> set[str]:
    mask = int(status(engine, "CapEff", **host), 16)
    return {name for name, number in NUMBERS.items() if mask & 1 << number}


def test_capabilities_are_added_and_dropped(engine: TestEngine) -> None:
    assert capabilities(engine, cap_drop=("ALL",), cap_add=("chown",)) == {"CAP_CHOWN"}
    everything = capabilities(engine, cap_add=("ALL",), cap_drop=("CAP_MKNOD",))
    assert everything == set(host_facts().capabilities) - {"CAP_MKNOD"}


def test_privileged(engine: TestEngine) -> None:
    assert capabilities(engine, privileged=True) == set(host_facts().capabilities)
    assert status(engine, "Seccomp", privileged=True) == "0"
    mounts = shown(engine, "cat", "/proc/mounts", privileged=True)
    assert not [line for line in mounts.splitlines() if line.startswith("proc /proc/")]
    assert shown(engine, "ls", "/dev/kmsg", privileged=True) == "/dev/kmsg"


def test_without_privileges_the_same_is_confined(engine: TestEngine) -> None:
    assert "CAP_SYS_ADMIN" not in capabilities(engine)
    assert status(engine, "Seccomp") == "2"
    mounts = shown(engine, "cat", "/proc/mounts")
    assert "proc /proc/sys proc ro" in mounts


def test_devices(engine: TestEngine) -> None:
    mapping = DeviceMapping(
        path_on_host="/dev/null", path_in_container="/dev/mine", cgroup_permissions="r"
    )
    text = shown(engine, "stat", "-c", "%t %T %F", "/dev/mine", devices=(mapping,))
    assert text == "1 3 character special file"


def test_a_directory_of_devices(engine: TestEngine) -> None:
    names = (
        [entry.name for entry in Path("/dev/net").iterdir()] if Path("/dev/net").exists() else []
    )
    if not names:
        pytest.skip("there is no directory /dev/net")
    mapping = DeviceMapping(path_on_host="/dev/net", path_in_container="/dev/net")
    assert set(shown(engine, "ls", "/dev/net", devices=(mapping,)).split()) == set(names)


def test_rules_for_devices(engine: TestEngine) -> None:
    """Every node may be made, and used only by a rule. Nothing is behind number 1:6."""
    script = "mknod /x c 1 6 && head -c0 /x"
    plain = engine.run("sh", "-c", script)
    assert plain.code != 0
    assert b"Operation not permitted" in plain.stderr
    allowed = HostConfig(network_mode="none", device_cgroup_rules=("c 1:6 rwm",))
    assert b"Operation not permitted" not in engine.run("sh", "-c", script, host=allowed).stderr


def test_gpus_are_refused_by_name(engine: TestEngine) -> None:
    wanted = HostConfig(device_requests=(DeviceRequest(count=-1, capabilities=(("gpu",),)),))
    with pytest.raises(NotSupported, match="could not select device driver"):
        engine.create("true", host=wanted)


def test_no_new_privileges(engine: TestEngine) -> None:
    assert status(engine, "NoNewPrivs", security_opt=("no-new-privileges",)) == "1"


def test_system_paths_can_be_shown(engine: TestEngine) -> None:
    mounts = shown(engine, "cat", "/proc/mounts", security_opt=("systempaths=unconfined",))
    assert "proc /proc/sys proc ro" not in mounts


@pytest.mark.parametrize(
    ("options", "privileged", "made"),
    [
        (("writable-cgroups=true",), False, True),
        (("writable-cgroups=false",), True, False),
        ((), False, False),
        ((), True, True),
    ],
)
def test_control_groups_that_can_be_written_to(
    engine: TestEngine, options: tuple[str, ...], privileged: bool, made: bool
) -> None:
    script = "cd /sys/fs/cgroup; [ -d pids ] && cd pids; mkdir inner && rmdir inner"
    host = HostConfig(network_mode="none", security_opt=options, privileged=privileged)
    done = engine.run("sh", "-c", script, host=host)
    assert (done.code == 0) == made
    assert made or b"Read-only file system" in done.stderr


def test_a_seccomp_profile_of_ones_own(engine: TestEngine) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    host = HostConfig(network_mode="none", security_opt=(f"seccomp={json.dumps(profile)}",))
    assert b"No space left" in engine.run("mkdir", "/made", host=host).stderr


def test_a_read_only_root_with_writable_places(engine: TestEngine) -> None:
    script = "touch /x; touch /places/x && stat -c '%a %u %g' /places"
    host = HostConfig(
        network_mode="none",
        readonly_rootfs=True,
        tmpfs={"/places": "size=1m,mode=1770,uid=5,gid=6"},
    )
    outcome = engine.run("sh", "-c", script, host=host)
    assert b"/x: Read-only file system" in outcome.stderr
    assert outcome.stdout == b"1770 5 6\n"


def test_shared_memory(engine: TestEngine) -> None:
    mounts = shown(engine, "grep", " /dev/shm ", "/proc/mounts", shm_size=8 << 20)
    assert "size=8192k" in mounts


def test_without_shared_memory(engine: TestEngine) -> None:
    assert shown(engine, "sh", "-c", "test -e /dev/shm || echo none", ipc_mode="none") == "none"


def test_resource_limits_of_the_process(engine: TestEngine) -> None:
    limits = (Ulimit(name="nofile", soft=100, hard=200), Ulimit(name="core", soft=0, hard=0))
    assert shown(
        engine, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c", ulimits=limits
    ).split() == [
        "100",
        "200",
        "0",
    ]


def test_parameters_of_the_containers_own_kernel_namespaces(engine: TestEngine) -> None:
    asked = {"kernel.msgmax": "9000", "net.ipv4.ip_forward": "1"}
    paths = [f"/proc/sys/{name.replace('.', '/')}" for name in asked]
    assert shown(engine, "cat", *paths, sysctls=asked).split() == ["9000", "1"]


@pytest.mark.parametrize(
    ("sysctl", "network"), [("kernel.pid_max", "none"), ("net.ipv4.ip_forward", "host")]
)
def test_parameters_of_the_host_are_refused(engine: TestEngine, sysctl: str, network: str) -> None:
    with pytest.raises(InvalidArgument, match=sysctl):
        engine.create("true", host=HostConfig(network_mode=network, sysctls={sysctl: "1"}))


def test_the_score_for_being_killed(engine: TestEngine) -> None:
    assert shown(engine, "cat", "/proc/self/oom_score_adj", oom_score_adj=500) == "500"


@pytest.mark.parametrize(
    ("mode", "namespace"),
    [("pid_mode", "pid"), ("ipc_mode", "ipc"), ("uts_mode", "uts"), ("cgroupns_mode", "cgroup")],
)
def test_namespaces_of_the_host(engine: TestEngine, mode: str, namespace: str) -> None:
    path = f"/proc/self/ns/{namespace}"
    ours = str(Path(path).readlink())
    assert shown(engine, "readlink", path, **{mode: "host"}) == ours
    assert shown(engine, "readlink", path) != ours


def test_groups(engine: TestEngine) -> None:
    assert "77" in shown(engine, "id", "-G", config={"user": "5:6"}, group_add=("77",)).split()
