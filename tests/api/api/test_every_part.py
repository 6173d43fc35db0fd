"""Every field of what a container's creation is made of: mounts, endpoints, logs, health checks,
restart policies, devices, limits; and every field of a network's. Each works, or is refused by
name."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
    is_told,
    output,
)

from wherry.model import container as model
from wherry.model.image import HealthConfig

pytestmark = pytest.mark.root
NET = "parts"
KINDS = "tests/root/engine/test_mount_kinds.py"
LIFE = "tests/root/engine/test_container_life.py"
LOGS = "tests/root/engine/test_log_drivers.py"


def _mounts(below: str) -> str:
    """Print how many mounts there are below a path."""
    return f"grep -c ' {below}/' /proc/mounts"


def _option(path: str) -> str:
    """Print whether a mount may be written to."""
    return f"awk '$2==\"{path}\"{{print substr($4,1,2)}}' /proc/mounts | sort -u"


def bind(**members: Any) -> dict[str, Any]:
    return {"Type": "bind", "Source": "/dev", "Target": "/d", **members}


def volume(**members: Any) -> dict[str, Any]:
    return {"Type": "volume", "Source": "parts", "Target": "/v", **members}


def tmpfs(**members: Any) -> dict[str, Any]:
    return {"Type": "tmpfs", "Target": "/t", **members}


def image(**members: Any) -> dict[str, Any]:
    return {"Type": "image", "Source": "busybox", "Target": "/i", **members}


_BELOW = {"ReadOnlyNonRecursive": True}
_ALL = {"ReadOnlyForceRecursive": True}
MOUNT: dict[str, Case] = {
    "Target": Works(bind(Target="/d/../e//f"), "grep -c ' /e/f ' /proc/mounts", "1"),
    "Source": Works(bind(Source="/proc/version"), "grep -c Linux /d", "1"),
    "Type": Works(tmpfs(), "grep -c ' /t tmpfs ' /proc/mounts", "1"),
    "ReadOnly": Works(bind(Source="/tmp", ReadOnly=True), _option("/d"), "ro"),
    "Consistency": Works(bind(Consistency="cached"), "test -c /d/null && echo yes", "yes"),
    "BindOptions": Refused(volume(BindOptions={}), 400, "field BindOptions must not be specified"),
    "VolumeOptions": Refused(
        bind(VolumeOptions={}), 400, "field VolumeOptions must not be specified"
    ),
    "ImageOptions": Refused(bind(ImageOptions={}), 400, "field ImageOptions must not be specified"),
    "TmpfsOptions": Refused(bind(TmpfsOptions={}), 400, "field TmpfsOptions must not be specified"),
}
BIND: dict[str, Case] = {
    "Propagation": Works(
        bind(Source="/tmp", BindOptions={"Propagation": "private"}),
        "grep ' /d ' /proc/self/mountinfo | grep -c -e shared -e master",
        "0",
    ),
    "NonRecursive": Works(bind(BindOptions={"NonRecursive": True}), _mounts("/d"), "0"),
    "CreateMountpoint": Elsewhere(bind(BindOptions={"CreateMountpoint": True}), KINDS),
    "ReadOnlyNonRecursive": Works(
        bind(ReadOnly=True, BindOptions=_BELOW),
        _option("/d") + ";" + _option("/d/pts"),
        "ro\nrw",
    ),
    "ReadOnlyForceRecursive": Works(
        bind(ReadOnly=True, BindOptions={**_ALL, "Propagation": "rprivate"}),
        _option("/d") + ";" + _option("/d/pts"),
        "ro\nro",
    ),
    "IDMap": Elsewhere(bind(BindOptions={"IDMap": "match-user"}), KINDS),
}
_DRIVER = {"DriverConfig": {"Name": "far", "Options": {"a": "b"}}}
VOLUME: dict[str, Case] = {
    "NoCopy": Works(
        {"Type": "volume", "Target": "/bin/..data", "VolumeOptions": {"NoCopy": True}},
        "ls /bin/..data | wc -l",
        "0",
    ),
    "Labels": Elsewhere(volume(VolumeOptions={"Labels": {"a": "b"}}), KINDS),
    "DriverConfig": Refused(volume(Source="new", VolumeOptions=_DRIVER), 404, 'plugin "far"'),
    "Subpath": Refused(
        volume(VolumeOptions={"Subpath": "../out"}), 400, "must be a relative path within"
    ),
}
IMAGE: dict[str, Case] = {
    "Subpath": Works(image(ImageOptions={"Subpath": "bin"}), "test -x /i/busybox && echo in", "in"),
}
TMPFS: dict[str, Case] = {
    "SizeBytes": Works(
        tmpfs(TmpfsOptions={"SizeBytes": 1 << 20}), "df -k /t | tail -1 | awk '{print $2}'", "1024"
    ),
    "Mode": Works(tmpfs(TmpfsOptions={"Mode": 0o1750}), "stat -c %a /t", "1750"),
    "Options": Works(
        tmpfs(TmpfsOptions={"Options": [["exec"], ["uid", "12"]]}), "stat -c %u /t", "12"
    ),
}
_LIFE_OF_ONE = {"NetworkID": "x", "EndpointID": "x", "IPAddress": "10.9.9.9"}
_MADE = "of an endpoint that is made: what a client sends there is not looked at, as with Docker"
ENDPOINT: dict[str, Case] = {
    "IPAMConfig": Works(
        {"IPAMConfig": {"IPv4Address": "10.214.9.77"}},
        "ip -4 addr show eth0 | grep -o 10.214.9.77",
        "10.214.9.77",
    ),
    "Links": Refused({"Links": ["a:b:c"]}, 400, "bad format for links"),
    "MacAddress": Works(
        {"MacAddress": "02:42:ac:11:00:99"}, "cat /sys/class/net/eth0/address", "02:42:ac:11:00:99"
    ),
    "Aliases": Works(
        {"Aliases": ["other"]}, "nslookup other 127.0.0.11 >/dev/null && echo found", "found"
    ),
    "DriverOpts": Works(
        {"DriverOpts": {"com.docker.network.endpoint.ifname": "lan0"}},
        "ls /sys/class/net | grep lan",
        "lan0",
    ),
    "GwPriority": Elsewhere({"GwPriority": 3}, "tests/root/engine/test_container_networks.py"),
    **{
        name: Elsewhere({}, _MADE)
        for name in (
            *("NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen", "IPv6Gateway"),
            *("GlobalIPv6Address", "GlobalIPv6PrefixLen", "DNSNames"),
        )
    },
}
IPAM: dict[str, Case] = {
    "IPv4Address": Refused({"IPAMConfig": {"IPv4Address": "x"}}, 400, "invalid IPv4 address: x"),
    "IPv6Address": Works(
        {"IPAMConfig": {"IPv6Address": "fd00:214::77"}},
        "ip -6 addr show eth0 | grep -o fd00:214::77",
        "fd00:214::77",
    ),
    "LinkLocalIPs": Works(
        {"IPAMConfig": {"LinkLocalIPs": ["169.254.9.9"]}},
        "ip -4 addr show eth0 | grep -o 169.254.9.9",
        "169.254.9.9",
    ),
}
LOG: dict[str, Case] = {
    "Type": Works({"Type": "json-file", "Config": {}}, "echo kept", "kept"),
    "Config": Works(
        {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2", "compress": "true"}},
        "echo kept",
        "kept",
    ),
}
RESTART: dict[str, Case] = {
    "Name": Elsewhere({"Name": "unless-stopped", "MaximumRetryCount": 0}, LIFE),
    "MaximumRetryCount": Elsewhere({"Name": "on-failure", "MaximumRetryCount": 2}, LIFE),
}
_RULES = "tests/unit/engine/test_health_rules.py"
_TRUE = {"Test": ["CMD", "true"]}
HEALTH: dict[str, Case] = {
    "Test": Elsewhere({"Test": ["CMD-SHELL", "true"]}, LIFE),
    **{
        name: Elsewhere({**_TRUE, name: 10**9}, _RULES)
        for name in ("Interval", "Timeout", "StartPeriod", "StartInterval")
    },
    "Retries": Elsewhere({**_TRUE, "Retries": 7}, _RULES),
}
_NULL = {"PathOnHost": "/dev/null", "PathInContainer": "/dev/mine", "CgroupPermissions": "r"}
DEVICE: dict[str, Case] = {
    "PathOnHost": Refused(
        [{**_NULL, "PathOnHost": "/dev/nosuch"}], 400, "/dev/nosuch", at_start=True
    ),
    "PathInContainer": Works([_NULL], "test -c /dev/mine && echo there", "there"),
    "CgroupPermissions": Refused(
        [{**_NULL, "CgroupPermissions": "q"}], 400, "device mode: q", at_start=True
    ),
}
REQUEST: dict[str, Case] = {
    name: Refused([{"Driver": "nvidia", name: value}], 501, "could not select device driver")
    for name, value in (
        ("Driver", "nvidia"),
        ("Count", -1),
        ("DeviceIDs", ["0"]),
        ("Capabilities", [["gpu"]]),
        ("Options", {"a": "b"}),
    )
}
ULIMIT: dict[str, Case] = {
    "Name": Refused([{"Name": "bogus"}], 400, "invalid ulimit type: bogus"),
    "Soft": Works([{"Name": "nofile", "Soft": 70, "Hard": 80}], "ulimit -Sn", "70"),
    "Hard": Works([{"Name": "nofile", "Soft": 70, "Hard": 80}], "ulimit -Hn", "80"),
}
_HOST_PORT = "tests/root/engine/test_container_networks.py"
BINDING: dict[str, Case] = {
    "HostIp": Refused({"80/tcp": [{"HostIp": "x"}]}, 400, "invalid IP address: x"),
    "HostPort": Elsewhere({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}, _HOST_PORT),
}

# What the fields are members of, where that is in the request, and what reads it.
TABLES: dict[str, tuple[dict[str, Case], tuple[str, ...], type[Any]]] = {
    "Mount": (MOUNT, ("HostConfig", "Mounts", ""), model.MountRequest),
    "BindOptions": (BIND, ("HostConfig", "Mounts", ""), model.BindOptions),
    "VolumeOptions": (VOLUME, ("HostConfig", "Mounts", ""), model.VolumeOptions),
    "ImageOptions": (IMAGE, ("HostConfig", "Mounts", ""), model.ImageOptions),
    "TmpfsOptions": (TMPFS, ("HostConfig", "Mounts", ""), model.TmpfsOptions),
    "EndpointSettings": (ENDPOINT, ("NetworkingConfig",), model.EndpointSettings),
    "EndpointIPAMConfig": (IPAM, ("NetworkingConfig",), model.EndpointIpam),
    "LogConfig": (LOG, ("HostConfig", "LogConfig"), model.LogConfig),
    "RestartPolicy": (RESTART, ("HostConfig", "RestartPolicy"), model.RestartPolicy),
    "HealthConfig": (HEALTH, ("Healthcheck",), HealthConfig),
    "DeviceMapping": (DEVICE, ("HostConfig", "Devices"), model.DeviceMapping),
    "DeviceRequest": (REQUEST, ("HostConfig", "DeviceRequests"), model.DeviceRequest),
    "Ulimit": (ULIMIT, ("HostConfig", "Ulimits"), model.Ulimit),
    "PortBinding": (BINDING, ("HostConfig", "PortBindings"), model.PortBinding),
}
CASES = [(kind, name) for kind, (table, _, _) in TABLES.items() for name in table]


@pytest.fixture(scope="module", autouse=True)
def surroundings(daemon: Any) -> Iterator[None]:
    """A network of both families, and a volume."""
    pools = [{"Subnet": "10.214.9.0/24"}, {"Subnet": "fd00:214::/64"}]
    body = {"Name": NET, "EnableIPv6": True, "IPAM": {"Config": pools}}
    assert daemon.call("POST", "/networks/create", body)[0] == 201
    assert daemon.call("POST", "/volumes/create", {"Name": "parts"})[0] == 201
    yield
    assert daemon.call("DELETE", f"/networks/{NET}")[0] == 204
    assert daemon.call("DELETE", "/volumes/parts")[0] == 204


def body_with(place: tuple[str, ...], case: Case) -> dict[str, Any]:
    script = getattr(case, "script", "") or "true"
    host: dict[str, Any] = {"NetworkMode": "none", "LogConfig": {"Type": "json-file"}}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host}
    value = [case.value] if place[-1] == "" else case.value
    if place == ("NetworkingConfig",):
        host["NetworkMode"] = NET
        body["NetworkingConfig"] = {"EndpointsConfig": {NET: value}}
    elif place[0] == "HostConfig":
        host[place[1]] = value
    else:
        body[place[0]] = value
    return body


def shown(found: dict[str, Any], place: tuple[str, ...]) -> Any:
    """The same part of an inspection."""
    if place == ("NetworkingConfig",):
        return found["NetworkSettings"]["Networks"][NET]
    if place[0] == "HostConfig":
        return found["HostConfig"][place[1]]
    return found["Config"][place[0]]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_field_of_a_part(daemon: Any, kind: str, name: str) -> None:
    table, place, _ = TABLES[kind]
    case = table[name]
    body = body_with(place, case)
    if isinstance(case, Refused):
        assert_refused(daemon, body, case)
        return
    with created(daemon, body) as (container, warnings):
        assert not warnings
        found = json.loads(daemon.call("GET", f"/containers/{container}/json")[1])
        value = [case.value] if place[-1] == "" else case.value
        assert is_told(shown(found, place), value)
        if isinstance(case, Works):
            assert output(daemon, container) == case.printed


@pytest.mark.parametrize("kind", TABLES)
def test_each_table_has_all_that_is_read(kind: str) -> None:
    table, _, struct = TABLES[kind]
    assert set(table) == {one.encode_name for one in msgspec.structs.fields(struct)}


def test_what_is_made_of_an_endpoint_is_not_taken_from_a_client(daemon: Any) -> None:
    body = body_with(("NetworkingConfig",), Elsewhere(_LIFE_OF_ONE, _MADE))
    with created(daemon, body) as (container, _):
        found = json.loads(daemon.call("GET", f"/containers/{container}/json")[1])
        endpoint = found["NetworkSettings"]["Networks"][NET]
        assert "10.9.9.9" not in endpoint["IPAddress"]
        assert endpoint["EndpointID"] == ""
