"""Containers: one line of a list, and an inspection."""

from __future__ import annotations

import os.path
import time
from typing import Any

import msgspec

from wherry.api.times import NEVER, human_duration, rfc3339
from wherry.api.wire.base import Wire, without
from wherry.api.wire.endpoints import Port, network_settings, networks_of, port_list
from wherry.engine.api import ContainerSize
from wherry.engine.records import Container, Exec, Health, MountPoint, State
from wherry.model.container import ContainerConfig, HostConfig, LogConfig, RestartPolicy

UNSET = msgspec.UNSET
_NANO = 1_000_000_000

_CONFIG_OPTIONAL = (
    "ExposedPorts",
    "Healthcheck",
    "ArgsEscaped",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
)
_HOST_OPTIONAL = (
    "Annotations",
    "Mounts",
    "Tmpfs",
    "StorageOpt",
    "Sysctls",
    "Init",
    "Runtime",
)


class Summary(Wire, frozen=True, kw_only=True):
    """Definition ContainerSummary."""

    id: str
    names: list[str]
    image: str
    image_id: str = msgspec.field(name="ImageID")
    command: str
    created: int
    ports: list[Port]
    size_rw: int | msgspec.UnsetType = UNSET
    size_root_fs: int | msgspec.UnsetType = UNSET
    labels: dict[str, str]
    state: str
    status: str
    host_config: dict[str, Any]
    network_settings: dict[str, Any]
    mounts: list[dict[str, Any]]


def summary(container: Container, size: ContainerSize | None = None) -> Summary:
    host: dict[str, Any] = {"NetworkMode": container.host.network_mode or "default"}
    if container.host.annotations:
        host["Annotations"] = container.host.annotations
    return Summary(
        id=container.id,
        names=[f"/{container.name}"],
        image=container.image_name,
        image_id=container.image_id,
        command=_command(container),
        created=container.created_ns // _NANO,
        ports=port_list(container),
        size_rw=size.writable if size else UNSET,
        size_root_fs=size.total if size else UNSET,
        labels=container.config.labels or {},
        state=container.state.status,
        status=status_text(container.state, time.time_ns()),
        host_config=host,
        network_settings={"Networks": networks_of(container)},
        mounts=[mount(m) for m in container.mounts],
    )


def _command(container: Container) -> str:
    return " ".join([container.path, *(f"'{a}'" if " " in a else a for a in container.args)])


def status_text(state: State, now_ns: int) -> str:
    """The STATUS column of ``docker ps``."""
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {_ago(state.finished_ns, now_ns)} ago"
    if state.running:
        up = f"Up {_ago(state.started_ns, now_ns)}"
        if state.status == "paused":
            return f"{up} (Paused)"
        return up + _health_suffix(state.health)
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    if state.finished_ns <= 0:
        return "Created"
    return f"Exited ({state.exit_code}) {_ago(state.finished_ns, now_ns)} ago"


def _health_suffix(health: Health | None) -> str:
    if health is None:
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"


def _ago(ns: int, now_ns: int) -> str:
    return human_duration(max(0, now_ns - ns) / _NANO)


def mount(point: MountPoint) -> dict[str, Any]:
    """Definition MountPoint."""
    members: dict[str, Any] = {"Type": point.type}
    if point.name:
        members["Name"] = point.name
    members |= {"Source": point.source, "Destination": point.destination}
    if point.driver:
        members["Driver"] = point.driver
    return members | {"Mode": point.mode, "RW": point.rw, "Propagation": point.propagation}


def inspection(
    container: Container, size: ContainerSize | None = None, *, driver: str = "overlayfs"
) -> dict[str, Any]:
    """Definition ContainerInspectResponse."""
    directory = os.path.dirname(container.log_path)
    found: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339(container.created_ns),
        "Path": container.path,
        "Args": container.args,
        "State": state(container.state),
        "Image": container.image_id,
        "ResolvConfPath": _beside(directory, "resolv.conf"),
        "HostnamePath": _beside(directory, "hostname"),
        "HostsPath": _beside(directory, "hosts"),
        "LogPath": container.log_path if container.log_driver == "json-file" else "",
        "Name": f"/{container.name}",
        "RestartCount": container.restart_count,
        "Driver": driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": container.apparmor_profile,
        "ExecIDs": container.exec_ids or None,
        "HostConfig": host_config(container.host),
        "GraphDriver": {"Name": driver, "Data": None},
        "Mounts": [mount(m) for m in container.mounts],
        "Config": config(container),
        "NetworkSettings": network_settings(container),
    }
    if size is not None:
        found |= {"SizeRw": size.writable, "SizeRootFs": size.total}
    return found


def _beside(directory: str, name: str) -> str:
    return os.path.join(directory, name) if directory else ""


def state(value: State) -> dict[str, Any]:
    """Definition ContainerState."""
    found: dict[str, Any] = {
        "Status": value.status,
        "Running": value.running,
        "Paused": value.status == "paused",
        "Restarting": value.status == "restarting",
        "OOMKilled": value.oom_killed,
        "Dead": value.status == "dead",
        "Pid": value.pid,
        "ExitCode": value.exit_code,
        "Error": value.error,
        "StartedAt": rfc3339(value.started_ns),
        "FinishedAt": rfc3339(value.finished_ns),
    }
    if value.health is not None:
        found["Health"] = health(value.health)
    return found


def health(value: Health) -> dict[str, Any]:
    log = [
        {
            "Start": rfc3339(r.start_ns),
            "End": rfc3339(r.end_ns),
            "ExitCode": r.exit_code,
            "Output": r.output,
        }
        for r in value.log
    ]
    return {"Status": value.status, "FailingStreak": value.failing_streak, "Log": log}


def config(container: Container) -> dict[str, Any]:
    """Definition ContainerConfig, with the host name the container really has."""
    value: ContainerConfig = container.config
    if not value.hostname and container.host.network_mode != "host":
        value = msgspec.structs.replace(value, hostname=container.hostname)
    found = without(value, *_CONFIG_OPTIONAL)
    found["Labels"] = value.labels or {}
    return found


def host_config(value: HostConfig) -> dict[str, Any]:
    """Definition HostConfig; maps that Docker always has are never null."""
    log = LogConfig(type=value.log_config.type, config=value.log_config.config or {})
    restart = value.restart_policy if value.restart_policy.name else RestartPolicy(name="no")
    value = msgspec.structs.replace(
        value,
        log_config=log,
        restart_policy=restart,
        port_bindings=value.port_bindings or {},
        console_size=value.console_size or (0, 0),
        network_mode=value.network_mode or "default",
    )
    return without(value, *_HOST_OPTIONAL)


def execution(value: Exec) -> dict[str, Any]:
    """The answer of ``GET /exec/{id}/json``."""
    options = value.options
    return {
        "ID": value.id,
        "Running": value.running,
        "ExitCode": value.exit_code,
        "ProcessConfig": {
            "tty": options.tty,
            "entrypoint": options.cmd[0] if options.cmd else "",
            "arguments": options.cmd[1:],
            "privileged": options.privileged,
            **({"user": options.user} if options.user else {}),
        },
        "OpenStdin": options.attach_stdin,
        "OpenStderr": options.attach_stderr,
        "OpenStdout": options.attach_stdout,
        "CanRemove": not value.running and value.exit_code is not None,
        "ContainerID": value.container_id,
        "DetachKeys": options.detach_keys,
        "Pid": value.pid,
    }


__all__ = ["NEVER", "Summary", "execution", "inspection", "status_text", "summary"]
