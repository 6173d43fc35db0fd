"""The configuration that ``wherry-runtime spec`` writes, and what ``features`` tells."""

from __future__ import annotations

import os

import msgspec

from wherry.model.runtime_spec import (
    OCI_VERSION,
    Capabilities,
    Linux,
    LinuxDeviceCgroup,
    LinuxNamespace,
    LinuxResources,
    Mount,
    NamespaceType,
    Process,
    Rlimit,
    Root,
    Spec,
)
from wherry.runtime.plan.mount_options import NAMES
from wherry.runtime.plan.namespaces import NAMESPACE_FLAGS
from wherry.runtime.seccomp.actions import ACTIONS, FLAGS
from wherry.runtime.seccomp.architectures import ARCHITECTURES
from wherry.runtime.seccomp.conditions import OPERATORS
from wherry.sys import caps

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NAMESPACES: tuple[NamespaceType, ...] = ("pid", "network", "ipc", "uts", "mount")
_MASKED = """
    /proc/acpi /proc/asound /proc/kcore /proc/keys /proc/latency_stats /proc/timer_list
    /proc/timer_stats /proc/sched_debug /proc/scsi /sys/firmware /sys/devices/virtual/powercap
"""
_READONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"
_HOOKS = """
    prestart createRuntime createContainer startContainer poststart poststop
"""


def _mount(destination: str, kind: str, *options: str) -> Mount:
    return Mount(destination=destination, type=kind, source=kind, options=options)


def default_spec() -> Spec:
    """A shell in a read-only root, confined."""
    safe = ("nosuid", "noexec", "nodev")
    # As runc has it: the names of version 1 are left to those who know them.
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    namespaces = (*_NAMESPACES, "cgroup") if unified else _NAMESPACES
    return Spec(
        oci_version=OCI_VERSION,
        root=Root(path="rootfs", readonly=True),
        hostname="wherry",
        process=Process(
            terminal=True,
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            cwd="/",
            capabilities=Capabilities(
                bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES
            ),
            rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=1024, hard=1024),),
            no_new_privileges=True,
        ),
        mounts=(
            _mount("/proc", "proc"),
            _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount(
                "/dev/pts",
                "devpts",
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ),
            _mount("/dev/shm", "tmpfs", *safe, "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", *safe),
            _mount("/sys", "sysfs", *safe, "ro"),
            _mount("/sys/fs/cgroup", "cgroup", *safe, "relatime", "ro"),
        ),
        linux=Linux(
            namespaces=tuple(LinuxNamespace(type=kind) for kind in namespaces),
            resources=LinuxResources(devices=(LinuxDeviceCgroup(allow=False, access="rwm"),)),
            masked_paths=tuple(_MASKED.split()),
            readonly_paths=tuple(_READONLY.split()),
        ),
    )


def written_spec() -> dict[str, object]:
    """The default configuration with the user's ids, which the specification requires."""
    built: dict[str, object] = msgspec.to_builtins(default_spec())
    process = built["process"]
    assert isinstance(process, dict)
    return {**built, "process": {**process, "user": {"uid": 0, "gid": 0}}}


def features() -> dict[str, object]:
    """What this runtime can do (features.md); without a look at the machine, as it asks."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": _HOOKS.split(),
        "mountOptions": list(NAMES),
        "linux": {
            "namespaces": sorted(NAMESPACE_FLAGS),
            "capabilities": list(caps.NAMES),
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": sorted(OPERATORS),
                "archs": sorted(ARCHITECTURES),
                "knownFlags": sorted(FLAGS),
                "supportedFlags": sorted(FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": False},
        },
    }


def pretty(value: object) -> str:
    """JSON for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
