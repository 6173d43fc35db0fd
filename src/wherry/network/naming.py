"""Names on the host. All derive from the engine's instance, so that engines do not collide."""

from __future__ import annotations

import ipaddress
import re
import secrets
import zlib

import msgspec

from wherry.errors import InvalidArgument

_NAME_LIMIT = 15  # IFNAMSIZ without the final zero
_INSTANCE = re.compile(r"[a-z0-9]{1,6}")


class HostNames(msgspec.Struct, frozen=True):
    """The names of one engine. The dash ends the instance: no name is the prefix of another."""

    instance: str

    def __post_init__(self) -> None:
        if not _INSTANCE.fullmatch(self.instance):
            raise InvalidArgument(
                f"invalid network instance {self.instance!r}: want 1 to 6 small letters or digits"
            )

    @property
    def table(self) -> str:
        """The nf_tables table."""
        return f"wherry_{self.instance}"

    @property
    def default_bridge(self) -> str:
        return f"wh{self.instance}0"

    @property
    def bridge_prefix(self) -> str:
        return f"wh{self.instance}-"

    @property
    def port_prefix(self) -> str:
        return f"wv{self.instance}-"

    @property
    def leaving_group(self) -> int:
        """The interface group of links that are being removed."""
        return 0x57000000 | zlib.crc32(self.instance.encode()) & 0xFFFFFF

    def dummy(self, network_id: str) -> str:
        """The parent of a macvlan or ipvlan network that has none on the host."""
        return f"wd{self.instance}-{network_id}"[:_NAME_LIMIT]

    def bridge(self, network_id: str) -> str:
        return (self.bridge_prefix + network_id)[:_NAME_LIMIT]

    def port(self, endpoint_id: str) -> str:
        """The host's end of an endpoint's pair."""
        return (self.port_prefix + endpoint_id)[:_NAME_LIMIT]

    def is_port(self, interface: str) -> bool:
        return interface.startswith(self.port_prefix)

    def is_bridge(self, interface: str) -> bool:
        return interface == self.default_bridge or interface.startswith(self.bridge_prefix)


def new_id() -> str:
    """64 random hex digits."""
    return secrets.token_hex(32)


def mac_of(address: str) -> str:
    """The hardware address that goes with an IPv4 address: 02:42 and its four bytes, as Docker
    does, so that a neighbour's cache stays right when an address is used again."""
    packed = ipaddress.IPv4Address(address).packed
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *packed))


def random_mac() -> str:
    """A locally administered unicast address."""
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *secrets.token_bytes(4)))


_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")


def parse_mac(text: str) -> str:
    """A unicast hardware address in its usual form; InvalidArgument."""
    mac = text.lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise InvalidArgument(f"invalid MAC address: {text} is not a unicast hardware address")
    return mac
