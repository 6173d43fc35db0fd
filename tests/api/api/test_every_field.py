"""Every field of a container's creation: it works, or it is refused by name; none is swallowed.

The table has all fields of Docker's definition (v1.51) of ContainerConfig and HostConfig.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.api.api.cases import (
    Case,
    Elsewhere,
    Refused,
    Works,
    assert_refused,
    created,
    is_refused,
    output,
)

from wherry.model import container as model

pytestmark = pytest.mark.root
MB = 1 << 20


def group(v1: str, v2: str) -> str:
    """Print a file of the container's own control group."""
    return f"cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"


CONFIG: dict[str, Case] = {
    "Hostname": Works("h1", "hostname", "h1"),
    "Domainname": Works("d.example", "cat /proc/sys/kernel/domainname", "d.example"),
    "User": Works("12:34", "echo $(id -u) $(id -g)", "12 34"),
    "AttachStdin": Elsewhere(True, "tests/api/api/test_docker_py.py"),
    "AttachStdout": Elsewhere(True, "tests/api/api/test_docker_py.py"),
    "AttachStderr": Elsewhere(True, "tests/api/api/test_docker_py.py"),
    "ExposedPorts": Elsewhere({"80/tcp": {}}, "tests/api/api/test_container_filters.py"),
    "Tty": Works(True, "test -t 1 && echo terminal", "terminal"),
    "OpenStdin": Works(True, "test -c /dev/fd/0 || echo open", "open"),
    "StdinOnce": Elsewhere(True, "tests/api/api/test_docker_py.py"),
    "Env": Works(["A=b c"], 'echo "$A"', "b c"),
    "Cmd": Works(["echo", "hi"], "", "hi"),
    "Healthcheck": Elsewhere(
        {"Test": ["CMD", "true"], "Interval": 10**9}, "tests/root/engine/test_container_life.py"
    ),
    "ArgsEscaped": Elsewhere(True, "of Windows: images carry it, it means nothing here"),
    "Image": Works("busybox", "test -x /bin/busybox && echo yes", "yes"),
    "Volumes": Works({"/vol": {}}, "grep -c ' /vol ' /proc/mounts", "1"),
    "WorkingDir": Works("/some/where", "pwd", "/some/where"),
    "Entrypoint": Works(["echo", "first"], "", "first hi", config={"Cmd": ["hi"]}),
    "NetworkDisabled": Works(
        True, "ls /sys/class/net | grep -c eth", "0", host={"NetworkMode": "bridge"}
    ),
    "MacAddress": Works(
        "02:42:ac:11:00:63",
        "cat /sys/class/net/eth0/address",
        "02:42:ac:11:00:63",
        host={"NetworkMode": "bridge"},
    ),
    "OnBuild": Elsewhere(["RUN true"], "tests/root/engine/test_commit_and_import.py"),
    "Labels": Elsewhere({"a": "b"}, "tests/api/api/test_container_filters.py"),
    "StopSignal": Elsewhere("SIGUSR1", "tests/root/engine/test_container_life.py"),
    "StopTimeout": Elsewhere(7, "tests/root/engine/test_container_life.py"),
    "Shell": Elsewhere(["/bin/ash", "-c"], "tests/root/engine/test_commit_and_import.py"),
}

_NOT_BLOCK = [{"Path": "/dev/null", "Rate": 1000}]
_NO_BLOCK = "cannot limit device /dev/null: it is not a block device"

HOST: dict[str, Case] = {
    "CpuShares": Works(512, group("cpu/cpu.shares", "cpu.weight"), ("512", "59")),
    "Memory": Works(64 * MB, group("memory/memory.limit_in_bytes", "memory.max"), str(64 * MB)),
    "CgroupParent": Works(
        "/wherry-fields",
        "grep -q /wherry-fields/ /proc/1/cgroup && echo below",
        "below",
        host={"CgroupnsMode": "host"},
    ),
    "BlkioWeight": Works(  # of BFQ, or of whatever else the kernel weighs by
        300,
        "cd /sys/fs/cgroup; cat blkio/blkio.bfq.weight blkio/blkio.weight io.bfq.weight io.weight"
        " 2>/dev/null | head -n 1",
        ("300", "default 300", "default 2930"),
        warned="weight",
    ),
    "BlkioWeightDevice": Works(
        [{"Path": "/dev/null", "Weight": 300}],
        "false",
        "refused, but where it is warned",
        warned="weight_device",
        refused=_NO_BLOCK,
    ),
    "BlkioDeviceReadBps": Refused(_NOT_BLOCK, 400, _NO_BLOCK, at_start=True),
    "BlkioDeviceWriteBps": Refused(_NOT_BLOCK, 400, _NO_BLOCK, at_start=True),
    "BlkioDeviceReadIOps": Refused(_NOT_BLOCK, 400, _NO_BLOCK, at_start=True),
    "BlkioDeviceWriteIOps": Refused(_NOT_BLOCK, 400, _NO_BLOCK, at_start=True),
    "CpuPeriod": Works(
        50_000,
        group("cpu/cpu.cfs_period_us", "cpu.max"),
        ("50000", "20000 50000"),
        host={"CpuQuota": 20_000},
    ),
    "CpuQuota": Works(20_000, group("cpu/cpu.cfs_quota_us", "cpu.max"), ("20000", "20000 100000")),
    "CpuRealtimePeriod": Works(
        900_000,
        group("cpu/cpu.rt_period_us", "none"),
        "900000",
        warned="real-time",
        refused="Your kernel does not support CPU real-time period",
    ),
    "CpuRealtimeRuntime": Works(
        0, group("cpu/cpu.rt_runtime_us", "none"), ("0", ""), warned="real-time"
    ),
    "CpusetCpus": Works("0", group("cpuset/cpuset.cpus", "cpuset.cpus"), "0"),
    "CpusetMems": Works("0", group("cpuset/cpuset.mems", "cpuset.mems"), "0"),
    "Devices": Works(
        [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/mine", "CgroupPermissions": "rw"}],
        "test -c /dev/mine && echo there",
        "there",
    ),
    "DeviceCgroupRules": Works(
        ["c 1:7 rwm"],
        "mknod /full c 1 7 && (echo x 2>/dev/null >/full || echo full)",
        "full",
        host={"CapAdd": ["MKNOD"]},
    ),
    "DeviceRequests": Refused(
        [{"Driver": "nvidia", "Count": 1, "Capabilities": [["gpu"]]}], 501, "nvidia"
    ),
    "KernelMemoryTCP": Works(
        8 * MB,
        group("memory/memory.kmem.tcp.limit_in_bytes", "none"),
        str(8 * MB),
        warned="kernel memory TCP",
    ),
    "MemoryReservation": Works(
        32 * MB, group("memory/memory.soft_limit_in_bytes", "memory.low"), str(32 * MB)
    ),
    "MemorySwap": Works(
        96 * MB,
        group("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
        (str(96 * MB), str(32 * MB)),
        host={"Memory": 64 * MB},
        warned="swap",
    ),
    "MemorySwappiness": Works(
        30, group("memory/memory.swappiness", "none"), "30", warned="swappiness"
    ),
    "NanoCpus": Works(
        500_000_000, group("cpu/cpu.cfs_quota_us", "cpu.max"), ("50000", "50000 100000")
    ),
    "OomKillDisable": Works(
        True,
        "grep -h oom_kill_disable /sys/fs/cgroup/memory/memory.oom_control",
        "oom_kill_disable 1",
        host={"Memory": 64 * MB},
        warned="OomKillDisable",
    ),
    "Init": Works(True, "cat /proc/1/comm | grep -c sh", "0"),
    "PidsLimit": Works(33, group("pids/pids.max", "pids.max"), "33"),
    "Ulimits": Works([{"Name": "nofile", "Soft": 77, "Hard": 88}], "ulimit -n", "77"),
    "CpuCount": Refused(1, 400, "CpuCount"),
    "CpuPercent": Refused(10, 400, "CpuPercent"),
    "IOMaximumIOps": Refused(10, 400, "Maximum IOPs"),
    "IOMaximumBandwidth": Refused(10, 400, "Maximum IO Bandwidth"),
    "Binds": Works(["/proc/version:/v:ro"], "grep -c Linux /v", "1"),
    "ContainerIDFile": Elsewhere("/x", "written by the client, as the CLI does; kept here"),
    "LogConfig": Elsewhere(
        {"Type": "json-file", "Config": {"max-size": "10m"}},
        "tests/root/engine/test_log_drivers.py",
    ),
    "NetworkMode": Works("host", "readlink /proc/self/ns/net", os.readlink("/proc/self/ns/net")),
    "PortBindings": Elsewhere(
        {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
        "tests/root/engine/test_container_networks.py",
        host={"NetworkMode": "bridge"},
    ),
    "RestartPolicy": Elsewhere(
        {"Name": "on-failure", "MaximumRetryCount": 3}, "tests/root/engine/test_container_life.py"
    ),
    "AutoRemove": Elsewhere(True, "tests/root/engine/test_container_life.py"),
    "VolumeDriver": Refused(
        "nosuch", 404, 'plugin "nosuch" not found', host={"Binds": ["fields-volume:/vol"]}
    ),
    "VolumesFrom": Refused(["nosuch"], 400, "No such container: nosuch"),
    "Mounts": Works([{"Type": "tmpfs", "Target": "/t"}], "grep -c ' /t tmpfs' /proc/mounts", "1"),
    "ConsoleSize": Works([10, 20], "stty size", "10 20", config={"Tty": True}),
    "Annotations": Elsewhere({"a": "b"}, "tests/root/engine/test_external_runtimes.py"),
    "CapAdd": Works(["CAP_SYS_TIME"], "grep CapEff /proc/1/status", "CapEff:\t00000000aa0425fb"),
    "CapDrop": Works(["ALL"], "grep CapEff /proc/1/status", "CapEff:\t0000000000000000"),
    "CgroupnsMode": Works("private", "head -1 /proc/1/cgroup | cut -d: -f3", "/"),
    "Dns": Works(
        ["192.0.2.1"],
        "grep nameserver /etc/resolv.conf",
        "nameserver 192.0.2.1",
        host={"NetworkMode": "bridge"},
    ),
    "DnsOptions": Works(
        ["ndots:3"],
        "grep -o ndots:3 /etc/resolv.conf",
        "ndots:3",
        host={"NetworkMode": "bridge"},
    ),
    "DnsSearch": Works(
        ["a.example"],
        "grep search /etc/resolv.conf",
        "search a.example",
        host={"NetworkMode": "bridge"},
    ),
    "ExtraHosts": Works(
        ["far:192.0.2.9"], "grep far /etc/hosts", "192.0.2.9\tfar", host={"NetworkMode": "bridge"}
    ),
    "GroupAdd": Works(["4321"], "id -G | grep -o 4321", "4321"),
    "IpcMode": Works("none", "test -d /dev/shm || echo none", "none"),
    "Cgroup": Refused("container:x", 400, "invalid cgroup"),
    "Links": Refused(["nosuch:x"], 400, "nosuch", host={"NetworkMode": "bridge"}),
    "OomScoreAdj": Works(123, "cat /proc/1/oom_score_adj", "123"),
    "PidMode": Works("host", "readlink /proc/self/ns/pid", os.readlink("/proc/self/ns/pid")),
    "Privileged": Works(
        True, "grep NoNewPrivs /proc/1/status; test -e /dev/kmsg && echo all", "NoNewPrivs:\t0\nall"
    ),
    "PublishAllPorts": Elsewhere(True, "tests/root/engine/test_container_networks.py"),
    "ReadonlyRootfs": Works(True, "touch /x 2>/dev/null || echo denied", "denied"),
    "SecurityOpt": Works(["no-new-privileges"], "grep NoNewPrivs /proc/1/status", "NoNewPrivs:\t1"),
    "StorageOpt": Refused({"size": "1G"}, 501, "size"),
    "Tmpfs": Works({"/t": "size=1m"}, "grep -c ' /t tmpfs' /proc/mounts", "1"),
    "UTSMode": Works("host", "readlink /proc/self/ns/uts", os.readlink("/proc/self/ns/uts")),
    "UsernsMode": Works("host", "cat /proc/self/uid_map | tr -s ' '", " 0 0 4294967295"),
    "ShmSize": Works(2 * MB, "df -k /dev/shm | tail -1 | awk '{print $2}'", "2048"),
    "Sysctls": Works({"kernel.msgmax": "9000"}, "cat /proc/sys/kernel/msgmax", "9000"),
    "Runtime": Refused("nosuch", 400, "nosuch"),
    "Isolation": Refused("hyperv", 400, "isolation"),
    "MaskedPaths": Works([], "wc -c </proc/keys | grep -vc '^0$'", "1"),
    "ReadonlyPaths": Works(["/etc"], "touch /etc/x 2>/dev/null || echo denied", "denied"),
}
PARTS = {"HostConfig": HOST, "": CONFIG}
CASES = [(part, name) for part, table in PARTS.items() for name in table]


@pytest.fixture(scope="module", autouse=True)
def no_group_is_left() -> Iterator[None]:
    """The parent that a client names is the client's own to remove."""
    yield
    root = Path("/sys/fs/cgroup")
    for path in (*root.glob("wherry-fields"), *root.glob("*/wherry-fields")):
        path.rmdir()


def body_with(part: str, name: str, case: Case) -> dict[str, Any]:
    """What creates a container with the field, and all that the field needs."""
    script = getattr(case, "script", "") or "true"
    host = {"NetworkMode": "none", "LogConfig": {"Type": "json-file"}, **case.host}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host}
    body |= getattr(case, "config", {})
    (host if part else body)[name] = case.value
    return body


@pytest.mark.parametrize(("part", "name"), CASES)
def test_a_field(daemon: Any, part: str, name: str) -> None:
    case = PARTS[part][name]
    body = body_with(part, name, case)
    if isinstance(case, Refused):
        assert_refused(daemon, body, case)
        return
    if isinstance(case, Works) and case.refused and is_refused(daemon, body, case.refused):
        return
    with created(daemon, body) as (container, warnings):
        found = json.loads(daemon.call("GET", f"/containers/{container}/json")[1])
        if warnings:
            assert isinstance(case, Works)
            assert case.warned
            assert case.warned in warnings[0]
            return
        shown = found[part or "Config"][name]
        if name == "Labels":  # the image has some, too
            assert shown.items() >= case.value.items()
        else:
            assert shown == case.value
        if isinstance(case, Works) and case.printed:
            wanted = (case.printed,) if isinstance(case.printed, str) else case.printed
            assert output(daemon, container) in wanted


@pytest.mark.parametrize(
    ("table", "struct"), [(CONFIG, model.ContainerConfig), (HOST, model.HostConfig)]
)
def test_the_table_has_all_that_is_read(table: dict[str, Case], struct: Any) -> None:
    assert set(table) == {one.encode_name for one in msgspec.structs.fields(struct)}
