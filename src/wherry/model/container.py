"""What a container is asked to be: Docker's ContainerConfig, HostConfig and NetworkingConfig.

Engine API v1.51, definitions of the same names. The structs decode from and encode to the API's
own JSON, and are also the form in which the engine keeps a container on disk. A field that a
client leaves out, or sends as ``null``, has the default given here.
"""

from __future__ import annotations

import msgspec

from wherry.model.image import HealthConfig

Strings = tuple[str, ...] | None


class ApiStruct(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """A frozen value with the API's capitalised field names."""


class ContainerConfig(ApiStruct, frozen=True, kw_only=True):
    """The portable part: what runs, whatever the host."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, str]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: Strings = None
    cmd: Strings = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool | None = None
    image: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str = ""
    entrypoint: Strings = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: Strings = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: Strings = None


class LogConfig(ApiStruct, frozen=True, kw_only=True):
    type: str = ""
    config: dict[str, str] | None = None


class RestartPolicy(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    maximum_retry_count: int = 0


class PortBinding(ApiStruct, frozen=True, kw_only=True):
    host_ip: str = ""
    host_port: str = ""


class DeviceMapping(ApiStruct, frozen=True, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(ApiStruct, frozen=True, kw_only=True):
    driver: str = ""
    count: int = 0
    device_ids: Strings = msgspec.field(default=None, name="DeviceIDs")
    capabilities: tuple[tuple[str, ...], ...] | None = None
    options: dict[str, str] | None = None


class Ulimit(ApiStruct, frozen=True, kw_only=True):
    name: str = ""
    soft: int = 0
    hard: int = 0


class WeightDevice(ApiStruct, frozen=True, kw_only=True):
    path: str = ""
    weight: int = 0


class ThrottleDevice(ApiStruct, frozen=True, kw_only=True):
    path: str = ""
    rate: int = 0


class BindOptions(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False
    id_map: str = msgspec.field(default="", name="IDMap")
    """Not Docker's: whose files the source's appear as, see :mod:`wherry.model.idmap`."""


class DriverConfig(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    subpath: str = ""


class TmpfsOptions(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] | None = None


class MountRequest(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``--mount``: type is bind, volume, tmpfs, image, npipe or cluster."""

    target: str = ""
    source: str = ""
    type: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(ApiStruct, frozen=True, kw_only=True):
    """The part that depends on the host: limits, mounts, ports, privileges."""

    # Resources
    cpu_shares: int = 0
    memory: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] | None = None
    blkio_device_read_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_read_iops: tuple[ThrottleDevice, ...] | None = msgspec.field(
        default=None, name="BlkioDeviceReadIOps"
    )
    blkio_device_write_iops: tuple[ThrottleDevice, ...] | None = msgspec.field(
        default=None, name="BlkioDeviceWriteIOps"
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] | None = None
    device_cgroup_rules: Strings = None
    device_requests: tuple[DeviceRequest, ...] | None = None
    kernel_memory_tcp: int = msgspec.field(default=0, name="KernelMemoryTCP")
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    nano_cpus: int = 0
    oom_kill_disable: bool | None = None
    init: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = msgspec.field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = msgspec.field(default=0, name="IOMaximumBandwidth")
    # HostConfig proper
    binds: Strings = None
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: Strings = None
    mounts: tuple[MountRequest, ...] | None = None
    console_size: tuple[int, int] | None = None
    annotations: dict[str, str] | None = None
    cap_add: Strings = None
    cap_drop: Strings = None
    cgroupns_mode: str = ""
    dns: Strings = None
    dns_options: Strings = None
    dns_search: Strings = None
    extra_hosts: Strings = None
    group_add: Strings = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: Strings = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: Strings = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str | None = None
    isolation: str = ""
    masked_paths: Strings = None
    readonly_paths: Strings = None


class ContainerChanges(ApiStruct, frozen=True, kw_only=True):
    """Members of ``POST /containers/{id}/update`` that are not Docker's: what is published and
    mounted. ``publish_remove`` are container ports (``80/tcp``), ``mount_remove`` paths in the
    container; both happen before anything is added."""

    publish_add: dict[str, tuple[PortBinding, ...] | None] | None = None
    publish_remove: Strings = None
    mount_add: tuple[MountRequest, ...] | None = None
    mount_remove: Strings = None


class EndpointIpam(ApiStruct, frozen=True, kw_only=True, omit_defaults=True):
    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: Strings = msgspec.field(default=None, name="LinkLocalIPs")


class EndpointSettings(ApiStruct, frozen=True, kw_only=True):
    """One attachment of a container to a network, as asked (inputs) and as made (the rest)."""

    ipam_config: EndpointIpam | None = msgspec.field(default=None, name="IPAMConfig")
    links: Strings = None
    mac_address: str = ""
    aliases: Strings = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int = 0
    network_id: str = msgspec.field(default="", name="NetworkID")
    endpoint_id: str = msgspec.field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = msgspec.field(default="", name="IPAddress")
    ip_prefix_len: int = msgspec.field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = msgspec.field(default="", name="IPv6Gateway")
    global_ipv6_address: str = msgspec.field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = msgspec.field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: Strings = msgspec.field(default=None, name="DNSNames")


class NetworkingConfig(ApiStruct, frozen=True, kw_only=True):
    endpoints_config: dict[str, EndpointSettings | None] | None = None
