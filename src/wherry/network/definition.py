"""What a request for a network means: checks of its name, driver and options. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from wherry.errors import InvalidArgument, NotFound, NotSupported, PermissionDenied
from wherry.network.api import Network, NetworkRequest
from wherry.network.configurations import check_configuration
from wherry.network.firewall import BridgePolicy
from wherry.network.slicing import Kind, SliceOptions, parse_slice_options

BRIDGE, HOST, NONE = "bridge", "host", "none"
PREDEFINED = frozenset({BRIDGE, HOST, NONE})

OPTION_NAME = "com.docker.network.bridge.name"
OPTION_MTU = "com.docker.network.driver.mtu"
OPTION_ICC = "com.docker.network.bridge.enable_icc"
OPTION_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
OPTION_BINDING = "com.docker.network.bridge.host_binding_ipv4"
OPTION_PREFIX = "com.docker.network.container_iface_prefix"
_OPTION_GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv"
_OPTION_INHIBIT = "com.docker.network.bridge.inhibit_ipv4"

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_. -]*")
_INTERFACE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}")
_INTERFACE_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,9}")
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}
_MTU_LOW, _MTU_HIGH = 68, 65535


class BridgeOptions(msgspec.Struct, frozen=True):
    """The options of a bridge network, typed. ``mtu`` 0 and empty texts mean the default."""

    name: str = ""
    mtu: int = 0
    icc: bool = True
    masquerade: bool = True
    bind_address: str = ""
    interface_prefix: str = "eth"


def parse_options(options: Mapping[str, str]) -> BridgeOptions:
    """InvalidArgument for a value that makes no sense, NotSupported for what is not offered.

    Unknown options are kept with the network and have no effect, as with Docker.
    """
    for key, value in options.items():
        if key.startswith(_OPTION_GATEWAY_MODE) and value not in ("", "nat"):
            raise NotSupported(f"network option {key}={value} is not supported: only nat is")
    if _flag(options, _OPTION_INHIBIT, False):
        raise NotSupported(f"network option {_OPTION_INHIBIT} is not supported")
    return BridgeOptions(
        name=_matching(options, OPTION_NAME, _INTERFACE, ""),
        mtu=_mtu(options.get(OPTION_MTU, "")),
        icc=_flag(options, OPTION_ICC, True),
        masquerade=_flag(options, OPTION_MASQUERADE, True),
        bind_address=_bind_address(options.get(OPTION_BINDING, "")),
        interface_prefix=_matching(options, OPTION_PREFIX, _INTERFACE_PREFIX, "eth"),
    )


def _flag(options: Mapping[str, str], key: str, default: bool) -> bool:
    value = options.get(key, "").lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    if value:
        raise InvalidArgument(f"invalid network option {key}={value}: want true or false")
    return default


def _matching(options: Mapping[str, str], key: str, pattern: re.Pattern[str], default: str) -> str:
    value = options.get(key, "")
    if value and not pattern.fullmatch(value):
        raise InvalidArgument(f"invalid network option {key}={value!r}: no name for an interface")
    return value or default


def _mtu(value: str) -> int:
    if not value:
        return 0
    if not value.isdecimal() or not _MTU_LOW <= int(value) <= _MTU_HIGH:
        raise InvalidArgument(
            f"invalid network option {OPTION_MTU}={value}: want {_MTU_LOW} to {_MTU_HIGH} bytes"
        )
    return int(value)


def _bind_address(value: str) -> str:
    if not value:
        return ""
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise InvalidArgument(
            f"invalid network option {OPTION_BINDING}={value}: want an IPv4 address"
        ) from None


def parse_mtu(options: Mapping[str, str]) -> int:
    """Of a network of any driver, in bytes; 0: not said. InvalidArgument."""
    return _mtu(options.get(OPTION_MTU, ""))


def check_request(request: NetworkRequest) -> None:
    """Whether a network may be made under this name with this driver and these options."""
    name = request.name
    if name in PREDEFINED or name == "default":
        raise PermissionDenied(f"operation is not permitted on predefined {name} network")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"invalid network name {name!r}: want letters, digits, '_', '.' and '-'"
        )
    if not request.ipv4 and not request.ipv6:
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    kind = slice_kind(request.driver)
    if request.config_only:
        check_configuration(request)
    elif kind:
        _matching(request.options, OPTION_PREFIX, _INTERFACE_PREFIX, "eth")
        parse_mtu(request.options)
        parse_slice_options(kind, request.options)
    elif request.driver in ("", BRIDGE):
        parse_options(request.options)
    else:
        _refuse_driver(request.driver)


def _refuse_driver(driver: str) -> NoReturn:
    """In Docker's words, for which drivers that it has not are plugins."""
    if driver in ("host", "null"):
        raise PermissionDenied(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise PermissionDenied("cannot create an overlay network when swarm is not active")
    raise NotFound(
        f'plugin "{driver}" not found: this engine offers bridge, macvlan and ipvlan networks'
    )


def interface_prefix(network: Network) -> str:
    """What the names of its interfaces inside begin with. InvalidArgument."""
    return _matching(network.options, OPTION_PREFIX, _INTERFACE_PREFIX, "eth")


def slice_kind(driver: str) -> Kind | None:
    """The kind of links of a driver that slices an interface of the host."""
    if driver == "macvlan":
        return "macvlan"
    return "ipvlan" if driver == "ipvlan" else None


def slice_options(network: Network) -> SliceOptions | None:
    """None for networks with a bridge, or without any interface."""
    kind = slice_kind(network.driver)
    return parse_slice_options(kind, network.options) if kind else None


def policy_of(network: Network) -> BridgePolicy:
    options = parse_options(network.options)
    return BridgePolicy(
        interface=network.interface,
        subnets=tuple(subnet.subnet for subnet in network.subnets),
        internal=network.internal,
        icc=options.icc,
        masquerade=options.masquerade,
    )
