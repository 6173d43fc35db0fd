from __future__ import annotations

import ipaddress

import pytest

from wherry.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from wherry.network.api import Subnet
from wherry.network.subnets import check_requested, choose, choose_ipv6, complete, parse_prefix


def test_the_gateway_is_the_first_address() -> None:
    assert complete(Subnet(subnet="10.1.2.3/24")) == Subnet(
        subnet="10.1.2.0/24", gateway="10.1.2.1"
    )
    assert complete(Subnet(subnet="fd00:1::/64")).gateway == "fd00:1::1"
    assert complete(Subnet(subnet="10.0.0.0/31")).gateway == "10.0.0.0"


def test_what_was_asked_for_is_kept() -> None:
    asked = Subnet(
        subnet="10.1.0.0/16",
        gateway="10.1.9.9",
        ip_range="10.1.8.0/24",
        auxiliary={"router": "10.1.8.1"},
    )
    assert complete(asked) == asked


@pytest.mark.parametrize(
    ("subnet", "sentence"),
    [
        (Subnet(subnet=""), "invalid subnet ''"),
        (Subnet(subnet="10.0.0.0/33"), "invalid subnet"),
        (Subnet(subnet="10.0.0.0/24", gateway="10.0.1.1"), "invalid gateway 10.0.1.1"),
        (Subnet(subnet="10.0.0.0/24", gateway="10.0.0.255"), "not a host's address"),
        (Subnet(subnet="10.0.0.0/24", gateway="x"), "invalid IP address: 'x'"),
        (Subnet(subnet="10.0.0.0/24", ip_range="10.0.0.0/16"), "not within the subnet"),
        (Subnet(subnet="10.0.0.0/24", ip_range="10.0.1.0/25"), "not within the subnet"),
        (Subnet(subnet="10.0.0.0/24", ip_range="fd00::/80"), "not within the subnet"),
        (Subnet(subnet="10.0.0.0/24", auxiliary={"a": "10.9.0.1"}), "auxiliary address a"),
    ],
)
def test_subnets_that_make_no_sense(subnet: Subnet, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        complete(subnet)


def test_networks_do_not_overlap() -> None:
    taken = [parse_prefix("10.0.0.0/8"), parse_prefix("fd00::/48")]
    for text in ("10.1.0.0/16", "0.0.0.0/1", "fd00::/64"):
        with pytest.raises(PermissionDenied, match="Pool overlaps"):
            check_requested([Subnet(subnet=text)], taken)
    assert check_requested([Subnet(subnet="11.0.0.0/8")], taken)[0].gateway == "11.0.0.1"


def test_one_subnet_of_each_family() -> None:
    both = [Subnet(subnet="10.0.0.0/24"), Subnet(subnet="fd00::/64")]
    assert len(check_requested(both, ())) == 2
    with pytest.raises(InvalidArgument, match="at most one IPv4 subnet"):
        check_requested([Subnet(subnet="10.0.0.0/24"), Subnet(subnet="10.0.1.0/24")], ())


def test_choosing_skips_what_is_taken() -> None:
    pools = [(ipaddress.IPv4Network("10.0.0.0/22"), 24)]
    taken = [parse_prefix(text) for text in ("10.0.0.7/32", "10.0.1.0/25", "fd00::/8")]
    assert choose(pools, taken).subnet == "10.0.2.0/24"
    taken += [parse_prefix("10.0.2.0/23")]
    with pytest.raises(ResourceExhausted, match="fully subnetted"):
        choose(pools, taken)


def test_a_random_ipv6_subnet_is_unique_local() -> None:
    first, second = choose_ipv6(), choose_ipv6()
    assert first != second
    assert ipaddress.IPv6Network(first.subnet).subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert first.subnet.endswith("/64")
