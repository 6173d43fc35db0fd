"""From the options of ``run`` and ``create`` to the body of ``POST /containers/create``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from wherry.cli.block_devices import device_limits
from wherry.cli.mounts import parse_mount, parse_tmpfs, parse_volumes
from wherry.cli.options import Arguments, UsageError
from wherry.cli.ports import parse_ports
from wherry.cli.values import (
    csv_fields,
    environment,
    labels,
    pairs,
    parse_cpus,
    parse_duration,
    parse_size,
    parse_swap,
)

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    Body = dict[str, Any]

HOST_CA = "org.wherry.host-ca"
"""The annotation by which a client asks for the host's certificate authorities."""

_RESTART = ("no", "always", "on-failure", "unless-stopped", "")
_ZERO_COUNTS = ("Init", "MemorySwappiness", "StopTimeout")  # where 0 differs from "not said"
_PREDEFINED_NETWORKS = ("default", "none", "host", "bridge")


def create_body(arguments: Arguments, environ: Mapping[str, str]) -> Body:
    """The request's body; UsageError for an option whose value is wrong. Empty values are left
    out, so that the engine's defaults hold."""
    image, *command = arguments.words
    exposed, bindings = parse_ports(arguments.many("publish"), arguments.many("expose"))
    binds, anonymous = parse_volumes(arguments.many("volume"))
    config = _config(arguments, environ) | {
        "Image": image,
        "Cmd": command,
        "ExposedPorts": exposed,
        "Volumes": anonymous,
    }
    host = _host(arguments) | _limits(arguments) | _isolation(arguments)
    host |= device_limits(arguments)
    host |= {"Binds": binds, "PortBindings": bindings, "Annotations": _annotations(arguments)}
    mode, endpoints = _networks(arguments)
    host["NetworkMode"] = mode
    body = _filled(config)
    if arguments.given("entrypoint"):
        entry = arguments.text("entrypoint")
        body["Entrypoint"] = [entry] if entry else [""]
    body["HostConfig"] = _filled(host)
    if endpoints:
        body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def attached(arguments: Arguments) -> tuple[bool, bool, bool]:
    """Which of stdin, stdout and stderr the command line attaches to."""
    names = [name.lower() for name in arguments.many("attach")]
    if unknown := [name for name in names if name not in ("stdin", "stdout", "stderr")]:
        raise UsageError(f"valid streams are STDIN, STDOUT and STDERR, not {unknown[0]!r}")
    if "detach" in arguments and arguments.flag("detach"):
        if names:
            raise UsageError("conflicting options: cannot specify both --attach and --detach")
        return False, False, False
    if names:
        return "stdin" in names, "stdout" in names, "stderr" in names
    return arguments.flag("interactive"), True, True


def _filled(values: Body) -> Body:
    empty: tuple[Any, ...] = ("", 0, None, [], {}, ())
    return {
        name: value
        for name, value in values.items()
        if value not in empty or (name in _ZERO_COUNTS and value is not None)
    }


def _config(arguments: Arguments, environ: Mapping[str, str]) -> Body:
    stdin, stdout, stderr = attached(arguments)
    return {
        "Hostname": arguments.text("hostname"),
        "Domainname": arguments.text("domainname"),
        "User": arguments.text("user"),
        "AttachStdin": stdin,
        "AttachStdout": stdout,
        "AttachStderr": stderr,
        "Tty": arguments.flag("tty"),
        "OpenStdin": arguments.flag("interactive"),
        "StdinOnce": arguments.flag("interactive") and stdin,
        "Env": environment(arguments.many("env"), arguments.many("env-file"), environ),
        "WorkingDir": arguments.text("workdir"),
        "Labels": labels(arguments.many("label"), arguments.many("label-file")),
        "MacAddress": arguments.text("mac-address"),
        "StopSignal": arguments.text("stop-signal"),
        "StopTimeout": _optional_number(arguments, "stop-timeout"),
        "Healthcheck": _health(arguments),
    }


def _optional_number(arguments: Arguments, name: str) -> int | None:
    return arguments.number(name) if arguments.given(name) else None


def _health(arguments: Arguments) -> Body | None:
    command = arguments.text("health-cmd")
    times = {
        "Interval": parse_duration(arguments.text("health-interval")),
        "Timeout": parse_duration(arguments.text("health-timeout")),
        "StartPeriod": parse_duration(arguments.text("health-start-period")),
        "StartInterval": parse_duration(arguments.text("health-start-interval")),
        "Retries": arguments.number("health-retries"),
    }
    if arguments.flag("no-healthcheck"):
        if command or any(times.values()):
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    return _filled({"Test": ["CMD-SHELL", command] if command else None, **times}) or None


def _host(arguments: Arguments) -> Body:
    return {
        "AutoRemove": arguments.flag("rm"),
        "RestartPolicy": _restart(arguments),
        "PublishAllPorts": arguments.flag("publish-all"),
        "Mounts": [parse_mount(text) for text in arguments.many("mount")],
        "Tmpfs": parse_tmpfs(arguments.many("tmpfs")),
        "VolumesFrom": arguments.many("volumes-from"),
        "VolumeDriver": arguments.text("volume-driver"),
        "StorageOpt": pairs(arguments.many("storage-opt"), "storage option"),
        "ReadonlyRootfs": arguments.flag("read-only"),
        "ShmSize": parse_size(arguments.text("shm-size")),
        "Dns": arguments.many("dns"),
        "DnsOptions": arguments.many("dns-option") + arguments.many("dns-opt"),
        "DnsSearch": arguments.many("dns-search"),
        "ExtraHosts": [_extra_host(text) for text in arguments.many("add-host")],
        "Links": arguments.many("link"),
        "LogConfig": _log_config(arguments),
        "Init": arguments.flag("init") if arguments.given("init") else None,
        "ContainerIDFile": arguments.text("cidfile"),
    }


def _restart(arguments: Arguments) -> Body | None:
    policy = restart_policy(arguments.text("restart"))
    if policy["Name"] in ("no", ""):
        return None
    if arguments.flag("rm"):
        raise UsageError("conflicting options: cannot specify both --restart and --rm")
    return policy


def restart_policy(text: str) -> Body:
    """``on-failure:3`` as the API's RestartPolicy; UsageError."""
    name, _, count = text.partition(":")
    if name not in _RESTART or (count and not count.isdigit()):
        raise UsageError(f"invalid restart policy: {text!r}")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def _extra_host(text: str) -> str:
    name, mark, address = text.partition("=" if "=" in text else ":")
    if not name or not mark or not address:
        raise UsageError(f"bad format for add-host: {text!r}: want host:ip")
    return f"{name}:{address.strip('[]')}"


def _log_config(arguments: Arguments) -> Body | None:
    options = pairs(arguments.many("log-opt"), "log option")
    driver = arguments.text("log-driver")
    return _filled({"Type": driver, "Config": options}) or None


def _limits(arguments: Arguments) -> Body:
    return {
        "Memory": parse_size(arguments.text("memory")),
        "MemorySwap": parse_swap(arguments.text("memory-swap")),
        "MemoryReservation": parse_size(arguments.text("memory-reservation")),
        "MemorySwappiness": _optional_number(arguments, "memory-swappiness"),
        "NanoCpus": parse_cpus(arguments.text("cpus")),
        "CpuShares": arguments.number("cpu-shares"),
        "CpuPeriod": arguments.number("cpu-period"),
        "CpuQuota": arguments.number("cpu-quota"),
        "CpuRealtimePeriod": arguments.number("cpu-rt-period"),
        "CpuRealtimeRuntime": arguments.number("cpu-rt-runtime"),
        "CpusetCpus": arguments.text("cpuset-cpus"),
        "CpusetMems": arguments.text("cpuset-mems"),
        "PidsLimit": _optional_number(arguments, "pids-limit"),
        "BlkioWeight": arguments.number("blkio-weight"),
        "Ulimits": [parse_ulimit(text) for text in arguments.many("ulimit")],
        "OomKillDisable": arguments.flag("oom-kill-disable"),
        "OomScoreAdj": arguments.number("oom-score-adj"),
        "CgroupParent": arguments.text("cgroup-parent"),
    }


def parse_ulimit(text: str) -> Body:
    name, equals, values = text.partition("=")
    soft, _, hard = values.partition(":")
    hard = hard or soft
    try:
        limits = int(soft), int(hard)
    except ValueError:
        raise UsageError(f"invalid ulimit {text!r}: want name=soft[:hard]") from None
    if not name or not equals or (limits[1] != -1 and not -1 <= limits[0] <= limits[1]):
        raise UsageError(f"invalid ulimit {text!r}: want name=soft[:hard], soft at most hard")
    return {"Name": name, "Soft": limits[0], "Hard": limits[1]}


def _isolation(arguments: Arguments) -> Body:
    return {
        "Privileged": arguments.flag("privileged"),
        "CapAdd": arguments.many("cap-add"),
        "CapDrop": arguments.many("cap-drop"),
        "SecurityOpt": [_security(text) for text in arguments.many("security-opt")],
        "Sysctls": pairs(arguments.many("sysctl"), "sysctl"),
        "GroupAdd": arguments.many("group-add"),
        "IpcMode": arguments.text("ipc"),
        "PidMode": arguments.text("pid"),
        "UTSMode": arguments.text("uts"),
        "UsernsMode": arguments.text("userns"),
        "CgroupnsMode": arguments.text("cgroupns"),
        "Runtime": arguments.text("runtime"),
        "Isolation": arguments.text("isolation"),
        "DeviceCgroupRules": arguments.many("device-cgroup-rule"),
        "Devices": [_device(text) for text in arguments.many("device")],
    }


def _security(text: str) -> str:
    """A seccomp profile is a file here and its content for the engine."""
    name, equals, value = text.partition("=")
    if name != "seccomp" or not equals or value in ("unconfined", "builtin"):
        return text
    with open(value, encoding="utf-8") as source:
        return f"seccomp={source.read()}"


def _device(text: str) -> Body:
    source, *rest = text.split(":")
    target, access = source, "rwm"
    if len(rest) == 1:
        target, access = (source, rest[0]) if _is_access(rest[0]) else (rest[0], access)
    elif len(rest) == 2:
        target, access = rest[0] or source, rest[1]
    if len(rest) > 2 or not os.path.isabs(source) or not _is_access(access):
        raise UsageError(f"invalid device specification: {text}")
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": access}


def _is_access(text: str) -> bool:
    return bool(text) and not set(text) - set("rwm")


def _annotations(arguments: Arguments) -> dict[str, str]:
    found = pairs(arguments.many("annotation"), "annotation")
    if arguments.given("host-ca"):
        found[HOST_CA] = "true" if arguments.flag("host-ca") else "false"
    return found


def _networks(arguments: Arguments) -> tuple[str, Body]:
    """The network mode, and the settings of the endpoints that have any."""
    asked = [_network(text) for text in arguments.many("network") + arguments.many("net")]
    if not asked:
        asked = [("default", {})]
    common = _endpoint(
        aliases=arguments.many("network-alias") + arguments.many("net-alias"),
        addresses={"IPv4Address": arguments.text("ip"), "IPv6Address": arguments.text("ip6")},
        local=arguments.many("link-local-ip"),
    )
    first, settings = asked[0]
    if common and first in _PREDEFINED_NETWORKS and first != "bridge":
        raise UsageError(
            "network-scoped options need a network made by you: name it with --network"
        )
    endpoints = {first: common | settings, **dict(asked[1:])}
    if len(endpoints) == 1 and not endpoints[first]:
        return first, {}
    return first, endpoints


def _network(text: str) -> tuple[str, Body]:
    """``NAME`` or ``name=NAME,alias=A,ip=...``."""
    if "=" not in text:
        return text, {}
    fields: dict[str, list[str]] = {}
    for field in csv_fields(text):
        name, _, value = field.partition("=")
        fields.setdefault(name.strip().lower(), []).append(value)
    known = {"name", "alias", "ip", "ip6", "link-local-ip", "mac-address", "driver-opt"}
    known |= {"gw-priority"}
    if unknown := set(fields) - known:
        raise UsageError(f"invalid field {min(unknown)!r} in --network {text}")
    if "name" not in fields:
        raise UsageError(f"invalid --network {text!r}: it has no name")
    last = {name: values[-1] for name, values in fields.items()}
    addresses = {"IPv4Address": last.get("ip"), "IPv6Address": last.get("ip6")}
    settings = _endpoint(fields.get("alias", ()), addresses, fields.get("link-local-ip", ()))
    extra = {
        "MacAddress": last.get("mac-address"),
        "GwPriority": _priority(last.get("gw-priority", "0"), text),
        "DriverOpts": pairs(fields.get("driver-opt", ()), "driver option"),
    }
    return last["name"], settings | _filled(extra)


def _priority(value: str, text: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"invalid gw-priority in --network {text}: want a number") from None


def _endpoint(
    aliases: Iterable[str], addresses: Mapping[str, str | None], local: Iterable[str]
) -> Body:
    ipam = _filled({**addresses, "LinkLocalIPs": list(local)})
    return _filled({"Aliases": list(aliases), "IPAMConfig": ipam})
