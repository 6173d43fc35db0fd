"""``GET /version`` and ``GET /info``."""

from __future__ import annotations

import platform
import time
from typing import Any

from wherry.api.settings import ApiSettings
from wherry.api.times import rfc3339
from wherry.api.versions import MAXIMUM, MINIMUM, spelled
from wherry.engine.api import CacheUse
from wherry.engine.logs.options import DEFAULT_LOG_DRIVER, LOG_DRIVERS
from wherry.engine.system_api import SystemInfo

# /info has the kernel's names for a processor, images and /version have Go's
_KERNEL_NAMES = {"amd64": "x86_64", "arm64": "aarch64"}


def version(info: SystemInfo, settings: ApiSettings) -> dict[str, Any]:
    """Definition SystemVersion."""
    common = {
        "ApiVersion": spelled(MAXIMUM),
        "MinAPIVersion": spelled(MINIMUM),
        "GitCommit": settings.git_commit,
        "GoVersion": f"none (Python {platform.python_version()})",
        "Os": "linux",
        "Arch": info.architecture,
        "KernelVersion": info.kernel_version,
        "BuildTime": settings.build_time,
    }
    details = {**common, "Experimental": "false"}
    engine = {"Name": "Engine", "Version": info.version, "Details": details}
    return {
        "Platform": {"Name": "Wherry"},
        "Components": [engine],
        "Version": info.version,
        **common,
        "Experimental": False,
    }


def information(info: SystemInfo, settings: ApiSettings) -> dict[str, Any]:
    """Definition SystemInfo."""
    return _counts(info) | _abilities(info, settings) | _host(info) | _engine(info)


def _counts(info: SystemInfo) -> dict[str, Any]:
    return {
        "ID": info.id,
        "Containers": info.containers,
        "ContainersRunning": info.running,
        "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped,
        "Images": info.images,
        "NFd": info.file_descriptors,
        "NGoroutines": info.goroutines,
        "NEventsListener": info.events_listeners,
        "SystemTime": rfc3339(time.time_ns()),
    }


def _abilities(info: SystemInfo, settings: ApiSettings) -> dict[str, Any]:
    return {
        "Driver": "overlayfs",
        "DriverStatus": [["Userxattr", "false"]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": LOG_DRIVERS,
        },
        "MemoryLimit": True,
        "SwapLimit": True,
        "KernelMemoryTCP": False,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "OomKillDisable": info.cgroup_version == "1",
        "IPv4Forwarding": True,
        "LoggingDriver": settings.log_driver or DEFAULT_LOG_DRIVER,
        "CgroupDriver": info.cgroup_driver,
        "CgroupVersion": info.cgroup_version,
    }


def _host(info: SystemInfo) -> dict[str, Any]:
    return {
        "KernelVersion": info.kernel_version,
        "OperatingSystem": info.operating_system,
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": _KERNEL_NAMES.get(info.architecture, info.architecture),
        "NCPU": info.cpus,
        "MemTotal": info.memory,
        "Name": info.name,
        "HttpProxy": hidden(info.http_proxy),
        "HttpsProxy": hidden(info.https_proxy),
        "NoProxy": info.no_proxy,
    }


def _engine(info: SystemInfo) -> dict[str, Any]:
    return {
        "Debug": info.debug,
        "DockerRootDir": info.data_root,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(info),
        "GenericResources": None,
        "Labels": info.labels,
        "ExperimentalBuild": False,
        "ServerVersion": info.version,
        "Runtimes": {name: {"path": name} for name in info.runtimes},
        "DefaultRuntime": info.default_runtime,
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": False,
            "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": info.live_restore,
        "Isolation": "",
        "InitBinary": "wherry-init",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": info.security_options,
        "CDISpecDirs": [],
        "Warnings": info.warnings or None,
    }


def _registries(info: SystemInfo) -> dict[str, Any]:
    insecure = {
        name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
        for name in info.insecure_registries
        if "/" not in name
    }
    mirrors = list(info.registry_mirrors)
    hub = {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}
    networks = [name for name in info.insecure_registries if "/" in name]
    return {
        "AllowNondistributableArtifactsCIDRs": None,
        "AllowNondistributableArtifactsHostnames": None,
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", *networks],
        "IndexConfigs": {**insecure, "docker.io": hub},
        "Mirrors": mirrors,
    }


def hidden(proxy: str) -> str:
    """A proxy's address without its password, as Docker shows it."""
    scheme, separator, rest = proxy.partition("://")
    credentials, at, host = rest.rpartition("@")
    if not separator or not at or not credentials:
        return proxy
    return f"{scheme}://xxxxx:xxxxx@{host}"


def cache_use(use: CacheUse) -> dict[str, Any]:
    """Definition BuildCache."""
    return {
        "ID": use.id,
        "Parents": None,
        "Type": "regular",
        "Description": "",
        "InUse": False,
        "Shared": use.shared,
        "Size": use.size,
        "CreatedAt": rfc3339(use.created_ns),
        "LastUsedAt": rfc3339(use.used_ns),
        "UsageCount": 1,
    }
