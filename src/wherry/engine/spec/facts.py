"""What is true of this host: read once, and passed down as a value."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import msgspec

from wherry.sys.caps import names_of


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """``capabilities`` is the bounding set of the engine; ``lacks`` names the limits that the
    kernel's control groups do not offer here (see :data:`LIMITS`). ``cpu_list`` and
    ``memory_nodes`` are what a container may be bound to (``0-3,7``), empty if that is not known.
    """

    cgroup_mode: str
    kernel: tuple[int, int]
    machine: str
    capabilities: tuple[str, ...]
    cpus: int
    apparmor: bool = False
    selinux: bool = False
    seccomp: bool = True
    lacks: frozenset[str] = frozenset()
    cpu_list: str = ""
    memory_nodes: str = ""


# The limit, and the file that tells that the kernel offers it: in the root of version 1, in a group
# of version 2.
LIMITS = {
    "memory": ("memory/memory.limit_in_bytes", "memory.max"),
    "swap": ("memory/memory.memsw.limit_in_bytes", "memory.swap.max"),
    "memory reservation": ("memory/memory.soft_limit_in_bytes", "memory.low"),
    "swappiness": ("memory/memory.swappiness", ""),
    "oom kill disable": ("memory/memory.oom_control", ""),
    "kernel memory tcp": ("memory/memory.kmem.tcp.limit_in_bytes", ""),
    "cpu shares": ("cpu/cpu.shares", "cpu.weight"),
    "cpu cfs": ("cpu/cpu.cfs_quota_us", "cpu.max"),
    "cpu realtime": ("cpu/cpu.rt_runtime_us", ""),
    "cpuset": ("cpuset/cpuset.cpus", "cpuset.cpus"),
    "pids": ("pids/cgroup.procs", "pids.max"),
    "blkio weight": ("blkio/blkio.weight", "io.weight"),
    "blkio weight device": ("blkio/blkio.weight_device", "io.weight"),
    "blkio throttle": ("blkio/blkio.throttle.read_bps_device", "io.max"),
}
_BFQ = "blkio/blkio.bfq.io_serviced"  # whose weights are in no root group


@cache
def host_facts(cgroup_root: str = "/sys/fs/cgroup") -> HostFacts:
    """Look at this host. The answer is kept: none of it changes while the engine runs."""
    mode = _cgroup_mode(cgroup_root)
    uname = os.uname()
    return HostFacts(
        cgroup_mode=mode,
        kernel=kernel_version(uname.release),
        machine=uname.machine,
        capabilities=names_of(int(_status("CapBnd") or "0", 16)),
        cpus=len(os.sched_getaffinity(0)),
        apparmor=_has_apparmor(),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        seccomp=_status("Seccomp") != "",
        lacks=_lacking(cgroup_root, mode),
        cpu_list=_cpuset(cgroup_root, mode, "cpus"),
        memory_nodes=_cpuset(cgroup_root, mode, "mems"),
    )


def _cpuset(root: str, mode: str, kind: str) -> str:
    """What the root group may use: no other can have more (cpuset(7))."""
    file = f"cpuset.{kind}.effective" if mode == "unified" else f"cpuset/cpuset.{kind}"
    try:
        return Path(root, file).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _has_apparmor() -> bool:
    """Whether it is enabled, and its interface is here: in a container it usually is not."""
    return os.path.isdir("/sys/kernel/security/apparmor") and _reads(
        "/sys/module/apparmor/parameters/enabled", "Y"
    )


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor of ``6.1.0-13-amd64``; (0, 0) if it is none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _cgroup_mode(root: str) -> str:
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "unified"
    return "hybrid" if os.path.exists(f"{root}/unified/cgroup.controllers") else "legacy"


def _lacking(root: str, mode: str) -> frozenset[str]:
    if mode == "unified":
        present = _unified_files(root)
        return frozenset(name for name, (_, file) in LIMITS.items() if file not in present)
    lacking = {n for n, (file, _) in LIMITS.items() if not os.path.exists(f"{root}/{file}")}
    if os.path.exists(f"{root}/{_BFQ}"):
        lacking.discard("blkio weight")
    return frozenset(lacking)


def _unified_files(root: str) -> frozenset[str]:
    """Limits are files of groups below the root only, so that the controllers tell of them."""
    controllers = set(Path(root, "cgroup.controllers").read_text(encoding="ascii").split())
    offered = {file for _, file in LIMITS.values() if file.partition(".")[0] in controllers}
    if not os.path.exists("/proc/swaps"):
        offered.discard("memory.swap.max")
    return frozenset(offered)


def _status(key: str) -> str:
    """A line of ``/proc/self/status`` (proc(5)); empty if there is none."""
    text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    match = re.search(rf"^{key}:\s*(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def _reads(path: str, value: str) -> bool:
    try:
        return Path(path).read_text(encoding="ascii").strip() == value
    except OSError:
        return False
