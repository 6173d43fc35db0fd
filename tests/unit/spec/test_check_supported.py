from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wherry.engine.spec import HostFacts, check_supported
from wherry.engine.spec.facts import LIMITS, host_facts, kernel_version
from wherry.errors import InvalidArgument, NotSupported, WherryError
from wherry.model.container import ContainerConfig, DeviceRequest, HostConfig, PortBinding, Ulimit
from wherry.sys.caps import NAMES

FACTS = HostFacts(
    cgroup_mode="unified", kernel=(6, 1), machine="x86_64", capabilities=NAMES, cpus=4
)
MIB = 1024 * 1024


def check(
    facts: HostFacts = FACTS, config: ContainerConfig | None = None, **host: Any
) -> list[str]:
    return check_supported(config or ContainerConfig(), HostConfig(**host), facts)


def test_nothing_is_said_of_an_ordinary_container() -> None:
    assert check() == []
    assert check(memory=64 * MIB, pids_limit=100, nano_cpus=500_000_000) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": 1024}, "Minimum memory limit allowed is 6MB"),
        ({"memory_reservation": 1024}, "Minimum memory reservation allowed is 6MB"),
        (
            {"memory": 8 * MIB, "memory_reservation": 9 * MIB},
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            {"memory": 8 * MIB, "memory_swap": 7 * MIB},
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            {"memory_swap": 8 * MIB},
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            {"memory_swappiness": 101},
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        (
            {"nano_cpus": 1, "cpu_period": 1000},
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            {"nano_cpus": 1, "cpu_quota": 1000},
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            {"nano_cpus": 5_000_000_000},
            "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        ({"cpu_period": 10}, "CPU cfs period can not be less than 1ms"),
        ({"cpu_quota": 10}, "CPU cfs quota can not be less than 1ms"),
        ({"cpuset_cpus": "0-x"}, "Invalid value 0-x for cpuset cpus"),
        ({"cpuset_mems": "3-1"}, "Invalid value 3-1 for cpuset mems"),
        ({"cpu_shares": -1}, "invalid CPU shares"),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"shm_size": -1}, "SHM size can not be less than 0"),
        (
            {"oom_score_adj": 1001},
            r"Invalid value 1001, range for oom score adj is \[-1000, 1000\]",
        ),
        ({"cap_add": ("FOO",)}, 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ({"cap_drop": ("cap_foo",)}, 'invalid CapDrop: unknown capability: "CAP_FOO"'),
        ({"security_opt": ("foo",)}, 'invalid --security-opt 1: "foo"'),
        ({"security_opt": ("foo=bar",)}, 'invalid --security-opt 2: "foo=bar"'),
        ({"security_opt": ("seccomp={",)}, "Decoding seccomp profile failed"),
        (
            {"security_opt": ('seccomp={"defaultAction":"SCMP_ACT_FOO"}',)},
            "unknown action 'SCMP_ACT_FOO'",
        ),
        ({"security_opt": ("no-new-privileges=maybe",)}, "invalid --security-opt 2"),
        ({"pid_mode": "x"}, "invalid PID mode: x"),
        ({"pid_mode": "container:"}, "invalid PID mode"),
        ({"ipc_mode": "x"}, "invalid IPC mode: x"),
        ({"uts_mode": "x"}, "invalid UTS mode: x"),
        ({"userns_mode": "x"}, "invalid user namespace mode: x"),
        ({"cgroupns_mode": "x"}, "invalid cgroup namespace mode: x"),
        ({"cpu_count": 2}, "CpuCount cannot be set"),
        ({"cpu_percent": 2}, "CpuPercent cannot be set"),
        ({"io_maximum_iops": 2}, "Maximum IOPs"),
        ({"io_maximum_bandwidth": 2}, "Maximum IO Bandwidth"),
        ({"isolation": "hyperv"}, "only supports 'default'"),
        ({"cgroup": "x"}, "invalid cgroup"),
        ({"sysctls": {"kernel.panic": "1"}}, "is not in a separate kernel namespace"),
        (
            {"sysctls": {"net.core.somaxconn": "1"}, "network_mode": "host"},
            "not allowed in host network namespace",
        ),
        ({"sysctls": {"kernel/sem": "1"}, "ipc_mode": "host"}, "hosts ipc namespace"),
        ({"sysctls": {"net.../../x": "1"}}, "invalid sysctl"),
        ({"ulimits": (Ulimit(name="foo"),)}, "invalid ulimit type: foo"),
        (
            {"ulimits": (Ulimit(name="nofile", soft=2, hard=1),)},
            "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
        ),
        ({"device_cgroup_rules": ("z",)}, "invalid device cgroup rule format: 'z'"),
        ({"annotations": {"": "x"}}, "the empty string is not permitted as key"),
        (
            {"network_mode": "container:x", "publish_all_ports": True},
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            {"network_mode": "container:x", "dns": ("1.1.1.1",)},
            "conflicting options: dns and the network mode",
        ),
    ],
)
def test_what_makes_no_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"device_requests": (DeviceRequest(capabilities=(("gpu",),), count=-1),)},
            r'could not select device driver "" with capabilities: \[\[gpu\]\]',
        ),
        ({"storage_opt": {"size": "1G"}}, "--storage-opt size is not supported"),
        ({"security_opt": ('seccomp={"defaultAction":"SCMP_ACT_NOTIFY"}',)}, "SCMP_ACT_NOTIFY"),
        ({"security_opt": ("apparmor=x",)}, "AppArmor is not enabled"),
    ],
)
def test_what_this_engine_or_host_cannot_do(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(NotSupported, match=message):
        check(**fields)


@pytest.mark.parametrize(
    ("config", "host", "message"),
    [
        (ContainerConfig(hostname="a b"), {}, "invalid hostname format: a b"),
        (ContainerConfig(hostname="a" * 64), {}, "invalid hostname format"),
        (ContainerConfig(hostname="x"), {"uts_mode": "host"}, "hostname and the UTS mode"),
        (
            ContainerConfig(hostname="x"),
            {"network_mode": "container:y"},
            "hostname and the network mode",
        ),
        (ContainerConfig(env=("=x",)), {}, "invalid environment variable: =x"),
        (ContainerConfig(env=("a=\0",)), {}, "zero byte"),
        (ContainerConfig(cmd=("a\0",)), {}, "zero byte"),
        (ContainerConfig(stop_timeout=-2), {}, "invalid stop timeout"),
    ],
)
def test_the_portable_part(config: ContainerConfig, host: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check(config=config, **host)


def test_ports_on_the_hosts_network_are_dropped_with_a_warning() -> None:
    ports = {"80/tcp": (PortBinding(host_port="80"),)}
    warnings = check(FACTS, network_mode="host", port_bindings=ports)
    assert warnings == ["Published ports are discarded when using host network mode"]
    assert check(FACTS, network_mode="bridge", port_bindings=ports) == []


def test_what_the_kernel_lacks_is_dropped_with_a_warning() -> None:
    facts = msgspec.structs.replace(FACTS, lacks=frozenset(LIMITS))
    warnings = check(
        facts,
        memory=8 * MIB,
        memory_swappiness=1,
        pids_limit=5,
        cpu_shares=2,
        cpuset_cpus="0",
        blkio_weight=10,
        oom_kill_disable=True,
    )
    assert warnings == [
        "Your kernel does not support memory limit capabilities or the cgroup is not mounted. "
        "Limitation discarded.",
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap.",
        "Your kernel does not support memory swappiness capabilities or the cgroup is not "
        "mounted. Memory swappiness discarded.",
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
        "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
        "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. "
        "PIDs limit discarded.",
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. "
        "Weight discarded.",
    ]


def test_what_cannot_be_dropped_is_refused() -> None:
    facts = msgspec.structs.replace(FACTS, lacks=frozenset(LIMITS), seccomp=False)
    for fields in ({"nano_cpus": 10_000_000}, {"cpu_realtime_runtime": 5}, {}):
        with pytest.raises(NotSupported):
            check(facts, **fields)
    assert check(facts, security_opt=("seccomp=unconfined",)) == []


def test_an_oom_killer_that_is_off_without_a_limit() -> None:
    (warning,) = check(oom_kill_disable=True)
    assert warning.startswith("OOM killer is disabled for the container, but no memory limit")


def test_every_error_is_a_sentence_of_ours() -> None:
    with pytest.raises(WherryError):
        check(memory=-2)


def test_the_facts_of_this_host() -> None:
    facts = host_facts()
    assert facts.cgroup_mode in ("legacy", "hybrid", "unified")
    assert facts.kernel > (4, 0)
    assert facts.lacks <= set(LIMITS)
    assert facts.cpus >= 1


def test_kernel_versions() -> None:
    assert kernel_version("6.1.0-13-amd64") == (6, 1)
    assert kernel_version("5.15") == (5, 15)
    assert kernel_version("strange") == (0, 0)
