"""The configuration of a container as a runtime takes it: ``config.json``.

OCI runtime-spec 1.2, config.md and config-linux.md; every struct has the name of its section. A
field that is absent has the default given here, and defaults are left out when encoding. ``None``
means "not asked for" where zero would be a value.
"""

from __future__ import annotations

from typing import Literal

import msgspec

OCI_VERSION = "1.2.0"

INIT_ANNOTATION = "org.wherry.init"
"""``true``: the runtime keeps a process of its own as the container's first, which reaps and passes
signals on."""

SUBDIRECTORY_OPTION = "X-mount.subdir="
"""Option of a bind or an overlay: the path in the source that is mounted, resolved inside it
(mount(8) has the name)."""

LAYER_OPTION = "lowerdir+="
"""Option of an overlay mount, once for each layer, topmost first (fsconfig(2) of overlayfs)."""

Strings = tuple[str, ...]


class SpecStruct(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False
):
    """A frozen value with the specification's field names."""


class User(SpecStruct, frozen=True, kw_only=True):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""


class Box(SpecStruct, frozen=True, kw_only=True):
    """A terminal's size in characters."""

    height: int
    width: int


class Capabilities(SpecStruct, frozen=True, kw_only=True):
    """Names as in capabilities(7), ``CAP_CHOWN``."""

    bounding: Strings = ()
    effective: Strings = ()
    inheritable: Strings = ()
    permitted: Strings = ()
    ambient: Strings = ()


class Rlimit(SpecStruct, frozen=True, kw_only=True):
    """One resource limit, ``RLIMIT_NOFILE``; 2**64-1 is unlimited."""

    type: str
    soft: int
    hard: int


class IoPriority(SpecStruct, frozen=True, kw_only=True):
    io_class: str = msgspec.field(name="class")
    priority: int = 0


class Scheduler(SpecStruct, frozen=True, kw_only=True):
    """sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: Strings = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class CpuAffinity(SpecStruct, frozen=True, kw_only=True):
    initial: str = ""
    final: str = ""


class Process(SpecStruct, frozen=True, kw_only=True):
    """The program of a container, or of an exec in it."""

    cwd: str
    args: Strings = ()
    env: Strings = ()
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    selinux_label: str = ""
    oom_score_adj: int | None = None
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: CpuAffinity | None = msgspec.field(default=None, name="execCPUAffinity")


class Root(SpecStruct, frozen=True, kw_only=True):
    """``path`` is absolute or relative to the bundle."""

    path: str
    readonly: bool = False


class IdMapping(SpecStruct, frozen=True, kw_only=True):
    container_id: int = msgspec.field(name="containerID")
    host_id: int = msgspec.field(name="hostID")
    size: int


class Mount(SpecStruct, frozen=True, kw_only=True):
    destination: str
    type: str = ""
    source: str = ""
    options: Strings = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


class Hook(SpecStruct, frozen=True, kw_only=True):
    """A program that is run at one point of a container's life. ``timeout`` in seconds."""

    path: str
    args: Strings = ()
    env: Strings = ()
    timeout: int | None = None


class Hooks(SpecStruct, frozen=True, kw_only=True):
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


NamespaceType = Literal["mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time"]


class LinuxNamespace(SpecStruct, frozen=True, kw_only=True):
    """A namespace to make, or with a ``path`` to join. Types that are not listed are inherited."""

    type: NamespaceType
    path: str = ""


class LinuxDevice(SpecStruct, frozen=True, kw_only=True):
    """A device node to make. ``type`` is c, b, u or p; ``file_mode`` holds permission bits."""

    type: str
    path: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class LinuxDeviceCgroup(SpecStruct, frozen=True, kw_only=True):
    """A rule for device access; later rules win. ``type`` empty or ``a`` is all, ``access`` is
    made of r, w and m, and a missing number matches any."""

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class LinuxMemory(SpecStruct, frozen=True, kw_only=True):
    """Bytes; -1 is unlimited."""

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None  # memory and swap together
    kernel: int | None = None
    kernel_tcp: int | None = msgspec.field(default=None, name="kernelTCP")
    swappiness: int | None = None
    disable_oom_killer: bool | None = msgspec.field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class LinuxCpu(SpecStruct, frozen=True, kw_only=True):
    """Times in microseconds."""

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class LinuxPids(SpecStruct, frozen=True, kw_only=True):
    """-1 (or 0, as Docker takes it) is unlimited."""

    limit: int


class LinuxWeightDevice(SpecStruct, frozen=True, kw_only=True):
    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class LinuxThrottleDevice(SpecStruct, frozen=True, kw_only=True):
    """``rate`` in bytes or operations per second."""

    major: int
    minor: int
    rate: int = 0


class LinuxBlockIO(SpecStruct, frozen=True, kw_only=True):
    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[LinuxWeightDevice, ...] = ()
    throttle_read_bps_device: tuple[LinuxThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[LinuxThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[LinuxThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleReadIOPSDevice"
    )
    throttle_write_iops_device: tuple[LinuxThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleWriteIOPSDevice"
    )


class LinuxHugepageLimit(SpecStruct, frozen=True, kw_only=True):
    """``page_size`` as the kernel writes it (``2MB``), ``limit`` in bytes."""

    page_size: str
    limit: int


class LinuxInterfacePriority(SpecStruct, frozen=True, kw_only=True):
    name: str
    priority: int


class LinuxNetwork(SpecStruct, frozen=True, kw_only=True):
    class_id: int | None = msgspec.field(default=None, name="classID")
    priorities: tuple[LinuxInterfacePriority, ...] = ()


class LinuxRdma(SpecStruct, frozen=True, kw_only=True):
    hca_handles: int | None = None
    hca_objects: int | None = None


class LinuxResources(SpecStruct, frozen=True, kw_only=True):
    """What a control group limits. None and empty: left as it is."""

    devices: tuple[LinuxDeviceCgroup, ...] = ()
    memory: LinuxMemory | None = None
    cpu: LinuxCpu | None = None
    pids: LinuxPids | None = None
    block_io: LinuxBlockIO | None = msgspec.field(default=None, name="blockIO")
    hugepage_limits: tuple[LinuxHugepageLimit, ...] = ()
    network: LinuxNetwork | None = None
    rdma: dict[str, LinuxRdma] = {}
    unified: dict[str, str] = {}


class LinuxSeccompArg(SpecStruct, frozen=True, kw_only=True):
    """A condition on one argument of a system call; ``op`` is ``SCMP_CMP_EQ`` and the like."""

    index: int
    value: int
    value_two: int = 0
    op: str


class LinuxSyscall(SpecStruct, frozen=True, kw_only=True):
    names: Strings
    action: str
    errno_ret: int | None = None
    args: tuple[LinuxSeccompArg, ...] = ()


class LinuxSeccomp(SpecStruct, frozen=True, kw_only=True):
    """A filter of system calls (config-linux.md, section "Seccomp")."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: Strings = ()
    flags: Strings = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[LinuxSyscall, ...] = ()


class LinuxPersonality(SpecStruct, frozen=True, kw_only=True):
    domain: str
    flags: Strings = ()


class LinuxTimeOffset(SpecStruct, frozen=True, kw_only=True):
    secs: int = 0
    nanosecs: int = 0


class LinuxIntelRdt(SpecStruct, frozen=True, kw_only=True):
    clos_id: str = msgspec.field(default="", name="closID")
    schemata: Strings = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False


class Linux(SpecStruct, frozen=True, kw_only=True):
    """The ``linux`` section. ``cgroups_path`` is relative to the hierarchies' roots."""

    namespaces: tuple[LinuxNamespace, ...] = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()
    devices: tuple[LinuxDevice, ...] = ()
    cgroups_path: str = ""
    resources: LinuxResources | None = None
    rootfs_propagation: str = ""
    seccomp: LinuxSeccomp | None = None
    sysctl: dict[str, str] = {}
    masked_paths: Strings = ()
    readonly_paths: Strings = ()
    mount_label: str = ""
    personality: LinuxPersonality | None = None
    intel_rdt: LinuxIntelRdt | None = None
    time_offsets: dict[str, LinuxTimeOffset] = {}
    memory_policy: msgspec.Raw | None = None  # of runtime-spec 1.3, to be refused
    net_devices: msgspec.Raw | None = None


class Spec(SpecStruct, frozen=True, kw_only=True):
    """The whole ``config.json``. Without a process nothing can be started.

    ``oci_version`` is :data:`OCI_VERSION` in what Wherry writes; it has no default, so that it is
    never left out when encoding.
    """

    oci_version: str
    root: Root | None = None
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: dict[str, str] = {}
    linux: Linux | None = None


class State(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What hooks and ``wherry-runtime state`` are told (runtime.md, section "State")."""

    oci_version: str
    id: str
    status: Literal["creating", "created", "running", "paused", "stopped"]
    pid: int
    bundle: str
    annotations: dict[str, str] = {}
