"""The configuration of a container as a runtime takes it: ``config.json``.

OCI runtime-spec 1.2, config.md and config-linux.md; every struct has the name of its section. A
field that is absent has the default given here, and defaults are left out when encoding. ``None``
means "not asked for" where zero would be a value.
"""

# No "from __future__ import annotations" here: msgspec needs what they stand for, and would have to
# compile them one by one.

from typing import Annotated, Any, Literal

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

OomScore = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]  # proc(5)
Uint16 = Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)]
Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, msgspec.Meta(ge=0)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class SpecStruct(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", gc=False
):
    """A frozen value with the specification's field names."""


class User(SpecStruct, frozen=True, kw_only=True):
    uid: Uint32 = 0
    gid: Uint32 = 0
    umask: Uint32 | None = None
    additional_gids: tuple[Uint32, ...] = ()
    username: str = ""


class Box(SpecStruct, frozen=True, kw_only=True):
    """A terminal's size in characters."""

    height: Uint64
    width: Uint64


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
    soft: Uint64
    hard: Uint64


class IoPriority(SpecStruct, frozen=True, kw_only=True):
    io_class: str = msgspec.field(name="class")
    priority: Int32 = 0


class Scheduler(SpecStruct, frozen=True, kw_only=True):
    """sched_setattr(2); times in nanoseconds."""

    policy: str
    nice: Int32 = 0
    priority: Int32 = 0
    flags: Strings = ()
    runtime: Uint64 = 0
    deadline: Uint64 = 0
    period: Uint64 = 0


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
    oom_score_adj: OomScore | None = None
    io_priority: IoPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: CpuAffinity | None = msgspec.field(default=None, name="execCPUAffinity")


class Root(SpecStruct, frozen=True, kw_only=True):
    """``path`` is absolute or relative to the bundle."""

    path: str
    readonly: bool = False


class IdMapping(SpecStruct, frozen=True, kw_only=True):
    container_id: Uint32 = msgspec.field(name="containerID")
    host_id: Uint32 = msgspec.field(name="hostID")
    size: Uint32


class Mount(SpecStruct, frozen=True, kw_only=True):
    destination: str
    type: str = ""
    source: str = ""
    options: Strings = ()
    uid_mappings: tuple[IdMapping, ...] = ()
    gid_mappings: tuple[IdMapping, ...] = ()


Seconds = Annotated[int, msgspec.Meta(ge=1)]


class Hook(SpecStruct, frozen=True, kw_only=True):
    """A program that is run at one point of a container's life. ``timeout`` in seconds."""

    path: str
    args: Strings = ()
    env: Strings = ()
    timeout: Seconds | None = None


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
    major: Int64 = 0
    minor: Int64 = 0
    file_mode: Uint32 | None = None
    uid: Uint32 | None = None
    gid: Uint32 | None = None


class LinuxDeviceCgroup(SpecStruct, frozen=True, kw_only=True):
    """A rule for device access; later rules win. ``type`` empty or ``a`` is all, ``access`` is
    made of r, w and m, and a missing number matches any."""

    allow: bool
    type: str = ""
    major: Int64 | None = None
    minor: Int64 | None = None
    access: str = ""


class LinuxMemory(SpecStruct, frozen=True, kw_only=True):
    """Bytes; -1 is unlimited."""

    limit: Int64 | None = None
    reservation: Int64 | None = None
    swap: Int64 | None = None  # memory and swap together
    kernel: Int64 | None = None
    kernel_tcp: Int64 | None = msgspec.field(default=None, name="kernelTCP")
    swappiness: Uint64 | None = None
    disable_oom_killer: bool | None = msgspec.field(default=None, name="disableOOMKiller")
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class LinuxCpu(SpecStruct, frozen=True, kw_only=True):
    """Times in microseconds."""

    shares: Uint64 | None = None
    quota: Int64 | None = None
    burst: Uint64 | None = None
    period: Uint64 | None = None
    realtime_runtime: Int64 | None = None
    realtime_period: Uint64 | None = None
    cpus: str = ""
    mems: str = ""
    idle: Int64 | None = None


class LinuxPids(SpecStruct, frozen=True, kw_only=True):
    """-1 (or 0, as Docker takes it) is unlimited."""

    limit: Int64


class LinuxWeightDevice(SpecStruct, frozen=True, kw_only=True):
    major: Int64
    minor: Int64
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None


class LinuxThrottleDevice(SpecStruct, frozen=True, kw_only=True):
    """``rate`` in bytes or operations per second."""

    major: Int64
    minor: Int64
    rate: Uint64 = 0


class LinuxBlockIO(SpecStruct, frozen=True, kw_only=True):
    weight: Uint16 | None = None
    leaf_weight: Uint16 | None = None
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
    limit: Uint64


class LinuxInterfacePriority(SpecStruct, frozen=True, kw_only=True):
    name: str
    priority: Uint32


class LinuxNetwork(SpecStruct, frozen=True, kw_only=True):
    class_id: Uint32 | None = msgspec.field(default=None, name="classID")
    priorities: tuple[LinuxInterfacePriority, ...] = ()


class LinuxRdma(SpecStruct, frozen=True, kw_only=True):
    hca_handles: Uint32 | None = None
    hca_objects: Uint32 | None = None


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

    index: Uint32
    value: Uint64
    value_two: Uint64 = 0
    op: str


class LinuxSyscall(SpecStruct, frozen=True, kw_only=True):
    names: Strings
    action: str
    errno_ret: Uint32 | None = None
    args: tuple[LinuxSeccompArg, ...] = ()


class LinuxSeccomp(SpecStruct, frozen=True, kw_only=True):
    """A filter of system calls (config-linux.md, section "Seccomp")."""

    default_action: str
    default_errno_ret: Uint32 | None = None
    architectures: Strings = ()
    flags: Strings = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[LinuxSyscall, ...] = ()


class LinuxPersonality(SpecStruct, frozen=True, kw_only=True):
    domain: str
    flags: Strings = ()


class LinuxTimeOffset(SpecStruct, frozen=True, kw_only=True):
    secs: Int64 = 0
    nanosecs: Uint32 = 0


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
    memory_policy: dict[str, Any] | None = None  # of runtime-spec 1.3, to be refused
    net_devices: dict[str, Any] | None = None


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
    vm: dict[str, Any] | None = None  # this and the rest: of other platforms, to be refused
    zos: dict[str, Any] | None = None
    windows: dict[str, Any] | None = None
    solaris: dict[str, Any] | None = None
    freebsd: dict[str, Any] | None = None


class State(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What hooks and ``wherry-runtime state`` are told (runtime.md, section "State")."""

    oci_version: str
    id: str
    status: Literal["creating", "created", "running", "paused", "stopped"]
    pid: int
    bundle: str
    annotations: dict[str, str] = {}
