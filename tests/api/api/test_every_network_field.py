"""Every field of a network's creation: it works, or it is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from tests.api.api.cases import Elsewhere, Refused, created, is_told, output

from wherry.api.routes import networks as routes

pytestmark = pytest.mark.root
NET = "each-field"
LINK = "com.docker.network."
NETWORKS = "tests/root/network/test_network_options.py"


@dataclass(frozen=True)
class Network:
    """What asks for the field, also shown by an inspection, and
    what a container on the network prints."""

    body: dict[str, Any]
    script: str = ""
    printed: str = ""


Case = Network | Refused | Elsewhere


def pool(**members: Any) -> dict[str, Any]:
    return {"IPAM": {"Config": [{"Subnet": "10.215.9.0/24", **members}]}}


def options(**members: str) -> dict[str, Any]:
    return {"Options": {LINK + name.replace("__", "."): value for name, value in members.items()}}


_ADDRESS = "ip -4 addr show eth0 | grep -o 'inet [0-9.]*'"
CREATE: dict[str, Case] = {
    "Name": Refused({"Name": "a/b"}, 400, "a/b"),
    "Driver": Refused({"Driver": "far"}, 404, 'plugin "far" not found'),
    "Scope": Network({"Scope": "local"}),
    "Internal": Network({"Internal": True}, "ip route | grep -c default", "0"),
    "Attachable": Network({"Attachable": True}),
    "Ingress": Refused({"Ingress": True}, 403, "Ingress network"),
    "ConfigOnly": Network({"ConfigOnly": True, **pool(), **options(driver__mtu="1300")}),
    "ConfigFrom": Refused(
        {"ConfigFrom": {"Network": "x"}}, 404, 'configuration network "x" does not exist'
    ),
    "IPAM": Network(pool(Gateway="10.215.9.1")),
    "EnableIPv4": Network(
        {"EnableIPv4": False, "EnableIPv6": True}, "ip -4 addr show eth0 | grep -c inet", "0"
    ),
    "EnableIPv6": Network(
        {"EnableIPv6": True}, "ip -6 addr show eth0 scope global | grep -c inet6", "1"
    ),
    "Options": Network(options(driver__mtu="1234"), "cat /sys/class/net/eth0/mtu", "1234"),
    "Labels": Network({"Labels": {"a": "b"}}),
}
IPAM: dict[str, Case] = {
    "Driver": Refused({"IPAM": {"Driver": "far"}}, 404, 'plugin "far" not found'),
    "Config": Network(pool(), _ADDRESS, "inet 10.215.9.2"),
    "Options": Network({"IPAM": {"Options": {"a": "b"}}}),
}
CONFIG: dict[str, Case] = {
    "Subnet": Network(pool(), _ADDRESS, "inet 10.215.9.2"),
    "IPRange": Network(pool(IPRange="10.215.9.128/25"), _ADDRESS, "inet 10.215.9.128"),
    "Gateway": Network(
        pool(Gateway="10.215.9.9"), "ip route | grep -o 'via 10.215.9.9'", "via 10.215.9.9"
    ),
    "AuxiliaryAddresses": Network(
        pool(AuxiliaryAddresses={"printer": "10.215.9.2"}), _ADDRESS, "inet 10.215.9.3"
    ),
}
OPTIONS: dict[str, Case] = {
    "bridge.name": Network(options(bridge__name="each-bridge")),
    "bridge.enable_icc": Elsewhere({}, NETWORKS),
    "bridge.enable_ip_masquerade": Elsewhere({}, NETWORKS),
    "bridge.host_binding_ipv4": Network(options(bridge__host_binding_ipv4="127.0.0.1")),
    "driver.mtu": Refused(options(driver__mtu="9"), 400, "mtu"),
    "container_iface_prefix": Network(
        options(container_iface_prefix="lan"), "ls /sys/class/net | grep lan", "lan0"
    ),
    "bridge.gateway_mode_ipv4": Refused(
        options(bridge__gateway_mode_ipv4="routed"), 501, "gateway_mode_ipv4=routed"
    ),
    "bridge.inhibit_ipv4": Refused(options(bridge__inhibit_ipv4="true"), 501, "inhibit_ipv4"),
}
TABLES: dict[str, dict[str, Case]] = {
    "NetworkCreateRequest": CREATE,
    "IPAM": IPAM,
    "IPAMConfig": CONFIG,
    "Options": OPTIONS,
}
CASES = [(kind, name) for kind, table in TABLES.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_field_of_a_network(daemon: Any, kind: str, name: str) -> None:
    case = TABLES[kind][name]
    if isinstance(case, Elsewhere):
        return
    if isinstance(case, Refused):
        status, answer = daemon.call("POST", "/networks/create", {"Name": NET, **case.value})
        assert status == case.status, answer
        assert case.words in json.loads(answer)["message"]
        return
    status, answer = daemon.call("POST", "/networks/create", {"Name": NET, **case.body})
    assert status == 201, answer
    try:
        found = json.loads(daemon.call("GET", f"/networks/{NET}")[1])
        assert is_told(found, case.body)
        if case.script:
            assert printed(daemon, case.script) == case.printed
    finally:
        assert daemon.call("DELETE", f"/networks/{NET}")[0] == 204


def printed(daemon: Any, script: str) -> str:
    host = {"NetworkMode": NET}
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], "HostConfig": host}
    with created(daemon, body) as (container, _):
        return output(daemon, container)


@pytest.mark.parametrize(
    ("table", "name"), [(CREATE, "_Create"), (IPAM, "_Ipam"), (CONFIG, "_IpamConfig")]
)
def test_the_table_has_all_that_is_read_of_a_network(table: dict[str, Case], name: str) -> None:
    struct = getattr(routes, name)
    assert set(table) == {one.encode_name for one in msgspec.structs.fields(struct)}


def test_a_network_is_made_of_a_configuration(daemon: Any) -> None:
    def make(name: str, **members: Any) -> tuple[int, str]:
        status, answer = daemon.call("POST", "/networks/create", {"Name": name, **members})
        return status, json.loads(answer).get("message", "")

    given = {**pool(Gateway="10.215.9.7"), **options(driver__mtu="1300"), "Labels": {"a": "b"}}
    of_it = {"ConfigFrom": {"Network": "conf"}}
    assert make("conf", ConfigOnly=True, **given) == (201, "")
    try:
        assert make(NET, **of_it, Internal=True) == (201, "")
        found = json.loads(daemon.call("GET", f"/networks/{NET}")[1])
        assert is_told(found, {**given, **of_it, "Internal": True, "Driver": "bridge"})
        assert printed(daemon, "cat /sys/class/net/eth0/mtu") == "1300"
        for members, status, words in (
            ({**of_it, **pool()}, 403, "user specified configurations are not supported"),
            ({**of_it, "ConfigOnly": True}, 403, "cannot depend on another"),
            ({"ConfigOnly": True, "Internal": True}, 403, "network specific fields"),
            ({"ConfigFrom": {"Network": NET}}, 404, "does not exist"),
        ):
            found_status, message = make("other", **members)
            assert (found_status, words in message) == (status, True), message
        status, answer = daemon.call("DELETE", "/networks/conf")
        assert (status, b"is in use" in answer) == (403, True)
        body = {"Image": "busybox", "HostConfig": {"NetworkMode": "conf"}}
        status, answer = daemon.call("POST", "/containers/create", body)
        assert (status, b"configuration-only network" in answer) == (403, True)
        assert daemon.call("DELETE", f"/networks/{NET}")[0] == 204
        daemon.call("POST", '/networks/prune?filters={"label":["a=b"]}')
        assert daemon.call("GET", "/networks/conf")[0] == 200
    finally:
        daemon.call("DELETE", f"/networks/{NET}")
        assert daemon.call("DELETE", "/networks/conf")[0] == 204
