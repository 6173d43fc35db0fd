"""Bridges and the pairs that join sandboxes to them."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Mapping, Sequence, Set

import msgspec

from wherry.errors import Conflict, InternalError, ResourceExhausted
from wherry.network import sysctl
from wherry.network.allocation import full_bridge
from wherry.network.api import Endpoint, Network
from wherry.network.definition import parse_options
from wherry.network.inside import configure, wait_until_running
from wherry.network.naming import HostNames, random_mac
from wherry.network.reaper import remove_links
from wherry.network.sandbox import NetnsSandbox
from wherry.network.subnets import Prefix, parse_prefix
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.route import Interface, Link, RouteConnection, Veth

_DEFAULT_MTU = 1500


class EngineLinks(msgspec.Struct, frozen=True):
    """This engine's ends of pairs by name, and its bridges but those that were given a name by
    their network."""

    ports: Mapping[str, Link]
    bridges: Set[str]


class Links:
    """The links of one engine on the host."""

    def __init__(self, route: RouteConnection, default_mtu: int) -> None:
        self._route = route
        self._default_mtu = default_mtu or route_mtu(route)
        self._bridges: dict[str, Link] = {}  # as they were when they were last looked at

    def ensure_bridge(self, network: Network) -> None:
        """Make the bridge of a network, its addresses and settings; what is there stays."""
        name = network.interface
        try:
            link = self._route.find_link(name) or self._create_bridge(network)
            if link.kind != "bridge":
                raise Conflict(f"cannot make network {network.name}: {name} is not a bridge")
            self._settings(network)
            self._bridges[name] = self._route.take_up(name)
            self._route.configure(link.index, _bridge_addresses(network), ())
        except OSError as error:
            raise InternalError(
                f"cannot make the bridge {name} of network {network.name}: {error.strerror}"
            ) from error

    def _create_bridge(self, network: Network) -> Link:
        mtu = parse_options(network.options).mtu or self._default_mtu
        return self._route.create_bridge(network.interface, mtu, random_mac())

    def _settings(self, network: Network) -> None:
        """Before the addresses: a bridge without IPv6 has no link-local one through which
        containers could reach services of the host."""
        name = network.interface
        sysctl.ensure(f"ipv4/conf/{name}/route_localnet", "1")
        sysctl.ensure(f"ipv6/conf/{name}/accept_ra", "0")
        sysctl.ensure(f"ipv6/conf/{name}/disable_ipv6", "0" if network.ipv6 else "1")
        sysctl.forward_ipv4()
        if network.ipv6:
            sysctl.forward_ipv6()

    def exists(self, name: str) -> bool:
        return self._route.find_link(name) is not None

    def of_engine(self, names: HostNames) -> EngineLinks:
        """What there is on the host at this moment."""
        links = self._route.links()
        return EngineLinks(
            ports={link.name: link for link in links if names.is_port(link.name)},
            bridges={
                link.name for link in links if link.kind == "bridge" and names.is_bridge(link.name)
            },
        )

    def rejoin(self, network: Network, port: Link) -> None:
        """Join a port to its bridge again, if that was made anew."""
        bridge = self._bridges[network.interface]
        if port.master != bridge.index:
            self._route.set_master(port.name, bridge.index)

    def remove_all(self, ports: Sequence[str], group: int) -> None:
        """Remove ports together; see :meth:`RouteConnection.delete_links`."""
        remove_links(self._route, ports, group)

    def remove(self, name: str) -> None:
        """Remove a link; fine if it is gone."""
        try:
            self._route.delete_link(name)
        except NetlinkError as error:
            raise InternalError(f"cannot remove the link {name}: {error.strerror}") from error

    def attach(self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        """Join a sandbox to a bridge. On an error the link may be there, and its removal is due.

        FileExistsError if a name of the link is taken, on the host or inside; other OSErrors.
        """
        self._create_pair(network, sandbox, endpoint)
        configure(sandbox, endpoint)
        port, bridge = endpoint.host_interface, network.interface
        wait_until_running(lambda: self._route.are_running(port, bridge), port)

    def _create_pair(self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        """Someone may have removed the bridge: then it is made again."""
        try:
            self._route.create_veth(self._veth(network, sandbox, endpoint))
        except NetlinkError as error:
            if error.errno == errno.EEXIST:
                raise FileExistsError(endpoint.host_interface) from error
            if error.errno == errno.EXFULL:
                raise ResourceExhausted(full_bridge(network)) from error
            if self._route.find_link(network.interface) == self._bridges.get(network.interface):
                raise
            self.ensure_bridge(network)
            self._route.create_veth(self._veth(network, sandbox, endpoint))
        sandbox.note(endpoint.interface)

    def _veth(self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint) -> Veth:
        bridge = self._bridges[network.interface]
        return Veth(
            name=endpoint.host_interface,
            master=bridge.index,
            mtu=bridge.mtu,
            mac=random_mac(),
            peer_name=endpoint.interface,
            peer_netns_fd=sandbox.netns_fd,
            peer_mac=endpoint.mac,
            isolated=not parse_options(network.options).icc,
            hairpin=bridged_frames_are_filtered(),
        )


def bridged_frames_are_filtered() -> bool:
    """Whether frames from port to port pass the packet filter (br_netfilter). A container that
    calls itself through a published port then needs them sent back through its own port."""
    return sysctl.read("bridge/bridge-nf-call-iptables") == "1"


def _bridge_addresses(network: Network) -> list[Interface]:
    return [
        ipaddress.ip_interface(f"{subnet.gateway}/{parse_prefix(subnet.subnet).prefixlen}")
        for subnet in network.subnets
    ]


def route_mtu(route: RouteConnection) -> int:
    """The size of packets that the host's default route takes, 1500 bytes at most: larger ones
    from containers would have to be fragmented or be lost."""
    ways = {one.interface for one in route.default_routes() if one.interface}
    return min([_DEFAULT_MTU, *(route.mtu_of(index) for index in ways)])


def occupied(route: RouteConnection) -> list[Prefix]:
    """What the host's addresses and routes cover, but default routes."""
    found: list[Prefix] = [interface.network for _, interface in route.addresses()]
    found += [one.destination for one in route.routes() if one.destination is not None]
    return found
