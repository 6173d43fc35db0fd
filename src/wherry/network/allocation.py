"""Gives endpoints their addresses, within a transaction of the database."""

from __future__ import annotations

from wherry.errors import InvalidArgument, PermissionDenied, ResourceExhausted
from wherry.network.api import Endpoint, EndpointRequest, Network, Subnet
from wherry.network.definition import BRIDGE, slice_options
from wherry.network.ipam import AddressRange
from wherry.network.naming import HostNames, mac_of, new_id, parse_mac, random_mac
from wherry.network.records import Records
from wherry.network.subnets import of_version, parse_address, parse_prefix

PORTS_OF_A_BRIDGE = 1023  # linux/net/bridge/br_private.h, BR_MAX_PORTS


class AddressTaken(PermissionDenied):
    """An address that was asked for belongs to another endpoint."""

    def __init__(self, address: str, network: str, *, leaving: bool) -> None:
        super().__init__(f"Address already in use: {address} in network {network}")
        self.leaving = leaving


class NetworkFull(ResourceExhausted):
    """A network has no address or no place left; ``leaving``: there will be soon."""

    def __init__(self, sentence: str, *, leaving: bool) -> None:
        super().__init__(sentence)
        self.leaving = leaving


def full_bridge(network: Network, limit: int = PORTS_OF_A_BRIDGE) -> str:
    return (
        f"network {network.name} is full: the kernel joins {limit} interfaces in a bridge at most, "
        "use one more network"
    )


class Allocator:
    """Makes endpoints. An address belongs to one endpoint until that one's link is gone."""

    def __init__(
        self, records: Records, names: HostNames, ports_of_a_bridge: int = PORTS_OF_A_BRIDGE
    ) -> None:
        self._records = records
        self._names = names
        self._ports_of_a_bridge = ports_of_a_bridge
        self._last: dict[tuple[str, str], int] = {}
        """The address given out last, by network and subnet; written within transactions only."""

    def lease(self, network: Network, request: EndpointRequest, interface: str) -> Endpoint:
        """Record an endpoint with its addresses; nothing of it exists yet.

        InvalidArgument, AddressTaken, NetworkFull.
        """
        if network.name == BRIDGE and (request.ipv4 or request.ipv6):
            raise InvalidArgument(
                "user specified IP address is supported on user defined networks only"
            )
        return self._records.add_endpoint(lambda: self._make(network, request, interface))

    def _check_room(self, network: Network) -> int:
        """Before the kernel refuses it; how many endpoints are leaving."""
        count, leaving = self._records.count_endpoints(network.id)
        if slice_options(network) is None and count >= self._ports_of_a_bridge:
            raise NetworkFull(full_bridge(network, self._ports_of_a_bridge), leaving=leaving > 0)
        return leaving

    def _make(self, network: Network, request: EndpointRequest, interface: str) -> Endpoint:
        self._check_room(network)
        ipv4, prefix4, gateway4 = self._address(network, 4, request.ipv4)
        ipv6, prefix6, gateway6 = self._address(network, 6, request.ipv6)
        identity = new_id()
        slices = slice_options(network)
        on_link = slices is not None and slices.routes and not network.internal
        return Endpoint(
            id=identity,
            network_id=network.id,
            network_name=network.name,
            container_id=request.container_id,
            container_name=request.container_name,
            mac=_mac(network, request.mac, ipv4),
            ipv4=ipv4,
            ipv4_prefix=prefix4,
            gateway="" if on_link else gateway4,
            ipv6=ipv6,
            ipv6_prefix=prefix6,
            ipv6_gateway="" if on_link else gateway6,
            on_link=on_link,
            link_local=tuple(_checked_link_local(one) for one in request.link_local),
            interface=interface,
            host_interface="" if slices else self._names.port(identity),
        )

    def _address(self, network: Network, version: int, wanted: str) -> tuple[str, int, str]:
        """Address, prefix length and gateway; empty if the network lacks the address family."""
        subnet = of_version(network.subnets, version)
        if subnet is None:
            if wanted:
                raise InvalidArgument(
                    f"invalid address {wanted}: network {network.name} has no IPv{version} subnet"
                )
            return "", 0, ""
        found = self._static(network, subnet, wanted) if wanted else self._next(network, subnet)
        gateway = "" if network.internal else subnet.gateway
        return found, parse_prefix(subnet.subnet).prefixlen, gateway

    def _static(self, network: Network, subnet: Subnet, wanted: str) -> str:
        address = AddressRange.of(subnet).check_static(wanted)
        if holder := self._records.lease_holder(network.id, address):
            raise AddressTaken(address, network.name, leaving=holder[1])
        return address

    def _next(self, network: Network, subnet: Subnet) -> str:
        key = network.id, subnet.subnet
        found = AddressRange.of(subnet).next_free(
            self._last.get(key, -1),
            lambda address: self._records.is_leased(network.id, address),
        )
        if found is None:
            raise NetworkFull(
                f"no available addresses on this network's address pools: {network.name} "
                f"({network.id}) has none left in {subnet.ip_range or subnet.subnet}",
                leaving=self._check_room(network) > 0,
            )
        self._last[key] = int(parse_address(found))
        return found


def _checked_link_local(text: str) -> str:
    address = parse_address(text)
    if not address.is_link_local:
        raise InvalidArgument(f"invalid link-local IP address: {text}")
    return str(address)


def _mac(network: Network, wanted: str, ipv4: str) -> str:
    """Slices of ipvlan have their parent's."""
    if network.driver == "ipvlan":
        if wanted:
            raise InvalidArgument("ipvlan interfaces do not support custom mac address assignment")
        return ""
    if wanted:
        return parse_mac(wanted)
    return mac_of(ipv4) if ipv4 else random_mac()
