from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.property.effort import examples

from wherry.errors import InvalidArgument, ResourceExhausted
from wherry.network import names
from wherry.network.api import Subnet
from wherry.network.ipam import AddressRange
from wherry.network.subnets import choose, complete, overlapping, parse_prefix

_SUBNETS = st.one_of(
    st.builds(
        lambda base, size: ipaddress.IPv4Network((base, size), strict=False),
        st.integers(0, 2**32 - 1),
        st.integers(8, 32),
    ),
    st.builds(
        lambda base, size: ipaddress.IPv6Network((base, size), strict=False),
        st.integers(0, 2**128 - 1),
        st.integers(48, 128),
    ),
)


@given(_SUBNETS, st.sets(st.integers(0, 20)), st.integers())
def test_a_free_address_is_one_that_a_container_may_have(
    prefix: ipaddress.IPv4Network, leased: set[int], after: int
) -> None:
    subnet = complete(Subnet(subnet=str(prefix)))
    taken = {str(prefix.network_address + n) for n in leased if n < prefix.num_addresses}
    found = AddressRange.of(subnet).next_free(after, taken.__contains__)
    if found is None:
        return
    assert ipaddress.ip_address(found) in prefix
    assert found != subnet.gateway
    assert found not in taken
    if prefix.num_addresses > 2:
        assert found != str(prefix.network_address)
    if prefix.version == 4 and prefix.num_addresses > 2:
        assert found != str(prefix.broadcast_address)
    assert AddressRange.of(subnet).check_static(found) == found


@given(st.sets(st.integers(0, 13)), st.integers(0, 15))
def test_none_only_if_all_are_leased(leased: set[int], after: int) -> None:
    subnet = complete(Subnet(subnet="10.0.0.0/28", auxiliary={"a": "10.0.0.5"}))
    taken = {f"10.0.0.{n + 1}" for n in leased}
    free = {f"10.0.0.{n}" for n in range(2, 15)} - taken - {"10.0.0.5"}
    found = AddressRange.of(subnet).next_free(
        int(ipaddress.ip_address("10.0.0.0")) + after, taken.__contains__
    )
    assert (found in free) if free else (found is None)


class Leases(RuleBasedStateMachine):
    """Addresses come and go; none is given twice, nor twice in a row."""

    leased = Bundle("leased")

    def __init__(self) -> None:
        super().__init__()
        self.range = AddressRange.of(
            complete(Subnet(subnet="10.0.0.0/24", ip_range="10.0.0.64/27", gateway="10.0.0.70"))
        )
        self.taken: set[str] = set()
        self.last = -1

    @rule(target=leased)
    def lease(self) -> str:
        found = self.range.next_free(self.last, self.taken.__contains__)
        if found is None:
            assert len(self.taken) == 31  # the range without the gateway
            return ""
        assert found not in self.taken
        if int(ipaddress.ip_address(found)) == self.last:
            assert len(self.taken) == 30, "given again at once, though others were free"
        self.taken.add(found)
        self.last = int(ipaddress.ip_address(found))
        return found

    @rule(address=consumes(leased))
    def release(self, address: str) -> None:
        self.taken.discard(address)

    @invariant()
    def within(self) -> None:
        inner = ipaddress.ip_network("10.0.0.64/27")
        assert all(ipaddress.ip_address(one) in inner for one in self.taken)


TestLeases = Leases.TestCase


@given(st.lists(_SUBNETS, max_size=8))
@settings(max_examples=examples(60))
def test_a_chosen_subnet_overlaps_with_nothing(taken: list[ipaddress.IPv4Network]) -> None:
    pools = [(ipaddress.IPv4Network("10.0.0.0/8"), 16)]
    try:
        subnet = choose(pools, taken)
    except ResourceExhausted:
        assert overlapping(pools[0][0], taken) is not None
        return
    prefix = parse_prefix(subnet.subnet)
    assert overlapping(prefix, taken) is None
    assert overlapping(prefix, [pools[0][0]]) is not None


@given(st.text(max_size=200))
def test_any_resolv_conf_gives_one_that_names_a_server(host: str) -> None:
    made = names.container_resolv_conf(host)
    again = names.parse_resolv_conf(made.text)
    assert again.nameservers
    assert names.container_resolv_conf(made.text).text == made.text


@given(st.text(max_size=40))
def test_no_entry_adds_lines_to_hosts(entry: str) -> None:
    try:
        text = names.hosts_file("h", [], extra=[entry], host_gateway="10.0.0.1")
    except InvalidArgument:
        return
    assert text.count("\n") == names.hosts_file("h", []).count("\n") + 1
