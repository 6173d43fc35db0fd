from __future__ import annotations

import pytest

from wherry.errors import InvalidArgument, NotFound, NotSupported, PermissionDenied
from wherry.network.api import NetworkRequest
from wherry.network.config import AddressPool
from wherry.network.definition import OPTION_MTU, BridgeOptions, check_request, parse_options
from wherry.network.naming import HostNames, mac_of, parse_mac, random_mac
from wherry.network.slicing import vlan_of

BRIDGE = "com.docker.network.bridge."


def test_options() -> None:
    options = {
        BRIDGE + "name": "mine",
        "com.docker.network.driver.mtu": "9000",
        BRIDGE + "enable_icc": "False",
        BRIDGE + "enable_ip_masquerade": "0",
        BRIDGE + "host_binding_ipv4": "127.0.0.1",
        "com.docker.network.container_iface_prefix": "net",
        BRIDGE + "gateway_mode_ipv4": "nat",
        "org.example.unknown": "kept",
    }
    assert parse_options(options) == BridgeOptions("mine", 9000, False, False, "127.0.0.1", "net")
    assert parse_options({}) == BridgeOptions()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (BRIDGE + "name", "../etc"),
        (BRIDGE + "name", "sixteen-characte"),
        (BRIDGE + "name", "a b"),
        ("com.docker.network.driver.mtu", "67"),
        ("com.docker.network.driver.mtu", "much"),
        (BRIDGE + "enable_icc", "maybe"),
        (BRIDGE + "host_binding_ipv4", "::1"),
        ("com.docker.network.container_iface_prefix", "0/"),
    ],
)
def test_options_that_make_no_sense(key: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid network option"):
        parse_options({key: value})


@pytest.mark.parametrize(
    "options", [{BRIDGE + "gateway_mode_ipv6": "routed"}, {BRIDGE + "inhibit_ipv4": "true"}]
)
def test_options_that_are_not_offered(options: dict[str, str]) -> None:
    with pytest.raises(NotSupported, match="is not supported"):
        parse_options(options)


@pytest.mark.parametrize("name", ["bridge", "host", "none", "default"])
def test_predefined_names(name: str) -> None:
    with pytest.raises(PermissionDenied, match=f"predefined {name} network"):
        check_request(NetworkRequest(name=name))


@pytest.mark.parametrize("name", ["", " ", "-x", "a/b", "container:x", "a\n"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid network name"):
        check_request(NetworkRequest(name=name))


def test_other_drivers_are_refused_by_name() -> None:
    for driver, error, words in (
        ("cloud", NotFound, 'plugin "cloud" not found'),
        ("host", PermissionDenied, 'only one instance of "host" network is allowed'),
        ("null", PermissionDenied, 'only one instance of "null" network is allowed'),
        ("overlay", PermissionDenied, "swarm is not active"),
    ):
        with pytest.raises(error, match=words):
            check_request(NetworkRequest(name="x", driver=driver))


@pytest.mark.parametrize(
    ("driver", "options", "sentence"),
    [
        ("macvlan", {"macvlan_mode": "l2"}, "macvlan_mode=l2: want bridge, private"),
        ("ipvlan", {"ipvlan_mode": "bridge"}, "ipvlan_mode=bridge: want l2, l3, l3s"),
        ("ipvlan", {"ipvlan_flag": "x"}, "ipvlan_flag=x: want bridge"),
        ("macvlan", {"parent": "a/b"}, "invalid parent 'a/b'"),
        ("macvlan", {"parent": "x" * 16}, "invalid parent"),
        ("macvlan", {OPTION_MTU: "1"}, "want 68 to 65535 bytes"),
    ],
)
def test_options_of_slices_that_make_no_sense(
    driver: str, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        check_request(NetworkRequest(name="x", driver=driver, options=options))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("eth0.10", ("eth0", 10)),
        ("br.a.4094", ("br.a", 4094)),
        ("eth0", None),
        ("eth0.0", None),
        ("eth0.4095", None),
        (".5", None),
    ],
)
def test_vlans_by_name(name: str, found: tuple[str, int] | None) -> None:
    assert vlan_of(name) == found


def test_a_network_has_an_address_family() -> None:
    with pytest.raises(InvalidArgument, match="IPv4 or IPv6 must be enabled"):
        check_request(NetworkRequest(name="x", ipv4=False))


def test_names_on_the_host_fit_and_differ() -> None:
    identity = "0123456789abcdef" * 4
    one, longer = HostNames("a"), HostNames("a0b1c2")
    for names in (one, longer):
        made = [names.default_bridge, names.bridge(identity), names.port(identity)]
        assert max(map(len, made)) <= 15
        assert names.is_bridge(made[0])
        assert names.is_bridge(made[1])
        assert names.is_port(made[2])
    assert not one.is_port(longer.port(identity))
    assert not one.is_bridge(longer.bridge(identity))
    assert not one.is_bridge(HostNames("a0").default_bridge)
    assert one.leaving_group != longer.leaving_group


@pytest.mark.parametrize("instance", ["", "seven77", "A", "a-b", "../x"])
def test_instances_that_are_none(instance: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid network instance"):
        HostNames(instance)


def test_hardware_addresses() -> None:
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert parse_mac("02-AA-bb-00-00-01") == "02:aa:bb:00:00:01"
    assert parse_mac(random_mac())
    for wrong in ("01:00:00:00:00:01", "00:00:00:00:00:00", "02:00", "02:00:00:00:00:0g", ""):
        with pytest.raises(InvalidArgument, match="invalid MAC address"):
            parse_mac(wrong)


@pytest.mark.parametrize(
    ("base", "size"), [("10.0.0.0/8", 7), ("10.0.0.0/8", 31), ("fd00::/8", 64)]
)
def test_pools_that_make_no_sense(base: str, size: int) -> None:
    with pytest.raises(InvalidArgument, match="invalid default address pool"):
        AddressPool(base, size).prefix()
