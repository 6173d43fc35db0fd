"""What an engine's networks are set to, whatever network it is."""

from __future__ import annotations

import msgspec

from wherry.errors import InvalidArgument
from wherry.network.subnets import IPv4Prefix, parse_prefix


class AddressPool(msgspec.Struct, frozen=True):
    """A range from which subnets of one size are cut (dockerd's ``default-address-pools``)."""

    base: str
    size: int  # prefix length

    def prefix(self) -> IPv4Prefix:
        """The range; InvalidArgument if it is none, or smaller than the subnets to cut."""
        parsed = parse_prefix(self.base)
        if not isinstance(parsed, IPv4Prefix) or not parsed.prefixlen <= self.size <= 30:
            raise InvalidArgument(
                f"invalid default address pool {self.base} of size {self.size}: want an IPv4 "
                "range and the prefix length of the subnets to cut from it, 30 at most"
            )
        return parsed


DEFAULT_POOLS = (
    *(AddressPool(f"172.{second}.0.0/16", 16) for second in range(17, 32)),
    AddressPool("192.168.0.0/16", 20),
)


class NetworkDefaults(msgspec.Struct, frozen=True):
    """Settings of the engine; the names in parentheses are dockerd's."""

    pools: tuple[AddressPool, ...] = DEFAULT_POOLS
    mtu: int = 0
    """Of bridges (``mtu``); 0: that of the host's default route, 1500 at most."""
    bind_address: str = ""
    """Where ports are published that name no address (``ip``); empty: all addresses."""
    bridge_address: str = ""
    """Address and prefix length of the default bridge (``bip``); empty: chosen."""
    icc: bool = True
    """Whether containers of the default bridge may talk to each other (``icc``)."""
    masquerade: bool = True
    """Whether the default bridge hides its addresses behind the host's (``ip-masq``)."""
    accept_forward: bool = False
    """Whether what containers send and get passes a policy of DROP in iptables' FORWARD chain, as
    with Docker; else the host's administrator decides."""


DEFAULTS = NetworkDefaults()
