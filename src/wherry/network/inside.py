"""The inside of a sandbox: addresses and routes of an attachment, whatever its link is."""

from __future__ import annotations

import errno
import ipaddress
import time
from collections.abc import Callable, Sequence

from wherry.errors import InternalError
from wherry.network.api import Endpoint
from wherry.network.sandbox import NetnsSandbox
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.route import Address, Interface

_RUNNING_LIMIT, _RUNNING_INTERVAL = 2.0, 0.0005  # seconds
_ON_LINK: dict[int, Address] = {4: ipaddress.IPv4Address(0), 6: ipaddress.IPv6Address(0)}


def configure(sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
    """Take the link of an endpoint up, and give it its addresses and, if it is the first of the
    sandbox, the default route. OSError."""
    if endpoint.ipv6 or any(":" in one for one in endpoint.link_local):
        sandbox.enable_ipv6(endpoint.interface)
    link = sandbox.route.take_up(endpoint.interface)
    addresses: list[Interface] = []
    gateways: list[Address] = []
    for version, address, prefix in (
        (4, endpoint.ipv4, endpoint.ipv4_prefix),
        (6, endpoint.ipv6, endpoint.ipv6_prefix),
    ):
        if address:
            addresses.append(ipaddress.ip_interface(f"{address}/{prefix}"))
        gateway = _gateway(endpoint, version)
        if gateway is not None and sandbox.claim_default_route(version):
            gateways.append(gateway)
    addresses += [_link_local(one) for one in endpoint.link_local]
    sandbox.route.configure(link.index, addresses, gateways)


def _gateway(endpoint: Endpoint, version: int) -> Address | None:
    """None if an endpoint leads nowhere; the unspecified address for its link itself."""
    if endpoint.on_link and (endpoint.ipv4 if version == 4 else endpoint.ipv6):
        return _ON_LINK[version]
    gateway = endpoint.gateway if version == 4 else endpoint.ipv6_gateway
    return ipaddress.ip_address(gateway) if gateway else None


def choose_gateway(sandbox: NetnsSandbox, endpoints: Sequence[Endpoint]) -> None:
    """See :meth:`wherry.network.api.Networks.choose_gateway`."""
    try:
        for version in (4, 6):
            ways = ((one.interface, _gateway(one, version)) for one in endpoints)
            interface, gateway = next((way for way in ways if way[1] is not None), ("", None))
            if gateway is not None:
                index = sandbox.route.link(interface).index
                sandbox.route.replace_default_route(index, gateway)
    except NetlinkError as error:
        raise InternalError(f"cannot set the default route: {error.strerror}") from error


def wait_until_running(are_running: Callable[[], bool], name: str) -> None:
    """A frame that is sent before is lost, and the container's first connection would take a
    second longer. The kernel may be busy with removals for some tens of milliseconds. OSError."""
    deadline = time.monotonic() + _RUNNING_LIMIT
    while not are_running():
        if time.monotonic() > deadline:
            raise OSError(errno.ENETDOWN, f"the link {name} does not get ready")
        time.sleep(_RUNNING_INTERVAL)


def _link_local(address: str) -> Interface:
    """With the prefix of all link-local addresses (RFC 3927, RFC 4291)."""
    return ipaddress.ip_interface(f"{address}/{64 if ':' in address else 16}")
