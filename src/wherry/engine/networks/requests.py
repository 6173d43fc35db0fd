"""What a container asks of its networks, as values. Pure, but for the look at what networks
there are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from wherry.engine.records import Container
from wherry.errors import InvalidArgument, NotFound, NotSupported, PermissionDenied
from wherry.model.container import EndpointIpam, EndpointSettings, HostConfig, NetworkingConfig
from wherry.network.api import Endpoint, EndpointRequest, Network, Networks
from wherry.network.names import check_extra_hosts

BRIDGE = "bridge"
_PREDEFINED = (BRIDGE, "host", "none")
_OPTION_INTERFACE = "com.docker.network.endpoint.ifname"
_OPTION_SYSCTLS = "com.docker.network.endpoint.sysctls"
_INTERFACE_LIMIT = 15  # bytes, IFNAMSIZ without the final zero


def network_mode(host: HostConfig) -> str:
    """``bridge``, ``host``, ``none``, ``container:REF`` or a network's name."""
    return BRIDGE if host.network_mode in ("", "default") else host.network_mode


def has_networks(host: HostConfig) -> bool:
    """Whether its namespace is its own, to be attached to networks."""
    mode = network_mode(host)
    return mode not in ("host", "none") and not mode.startswith("container:")


def is_user_defined(network: Network | str) -> bool:
    """Whether its containers find each other by name; the default bridge's do not."""
    name = network if isinstance(network, str) else network.name
    return name not in _PREDEFINED


def requested_networks(
    host: HostConfig, networking: NetworkingConfig
) -> dict[str, EndpointSettings]:
    """The networks to attach to, the one of the network mode first. InvalidArgument, also for
    names of other hosts that are malformed."""
    check_extra_hosts(host.extra_hosts or ())
    mode = network_mode(host)
    given = {
        (BRIDGE if name == "default" else name): wish(settings or EndpointSettings())
        for name, settings in (networking.endpoints_config or {}).items()
    }
    if not has_networks(host):
        if set(given) - {mode}:
            raise InvalidArgument(
                f"conflicting options: cannot attach to networks with network mode {mode}"
            )
        return {}
    first = {mode: given.pop(mode, EndpointSettings())}
    return first | given


def wish(settings: EndpointSettings) -> EndpointSettings:
    """Without what is known of an endpoint only when it is made: clients send whole inspections."""
    return EndpointSettings(
        ipam_config=settings.ipam_config,
        links=settings.links,
        mac_address=settings.mac_address,
        aliases=settings.aliases,
        driver_opts=settings.driver_opts,
        gw_priority=settings.gw_priority,
    )


def named_networks(
    networks: Networks, asked: Mapping[str, EndpointSettings], host: HostConfig
) -> dict[str, EndpointSettings]:
    """The same by the networks' names, whether they were asked for by name or by id, with the
    links of the host's part at the network they belong to. InvalidArgument."""
    found: dict[str, EndpointSettings] = {}
    for ref, settings in asked.items():
        network = _network(networks, ref)
        check_settings(network, settings)
        if network.name not in found or settings != EndpointSettings():
            found[network.name] = settings
    first = next(iter(found), "")
    if host.links and is_user_defined(first or BRIDGE):
        links = (*(found[first].links or ()), *host.links)
        found[first] = msgspec.structs.replace(found[first], links=links)
    return found


def _network(networks: Networks, ref: str) -> Network:
    """What lacks in a creation is told as a wrong request: the docker command takes NotFound there
    as a word about the image, and goes to pull it."""
    try:
        return networks.get(ref)
    except NotFound as error:
        raise InvalidArgument(str(error)) from None


def check_settings(network: Network, settings: EndpointSettings) -> None:
    """InvalidArgument, NotSupported for what a network cannot do for an endpoint."""
    if network.config_only:
        raise PermissionDenied(
            f"cannot create endpoint on configuration-only network {network.name}"
        )
    if not network.interface:
        raise InvalidArgument(f"container cannot be connected to network {network.name}")
    if settings.aliases and not is_user_defined(network):
        raise InvalidArgument("network-scoped aliases are only supported for user-defined networks")
    options = settings.driver_opts or {}
    if options.get(_OPTION_SYSCTLS):
        raise NotSupported(f"endpoint option {_OPTION_SYSCTLS} is not supported: use --sysctl")
    interface = options.get(_OPTION_INTERFACE, "")
    if "/" in interface or len(interface.encode()) > _INTERFACE_LIMIT or interface in (".", ".."):
        raise InvalidArgument(f"invalid interface name: {interface!r}")
    for link in settings.links or ():
        parse_link(link)
    _check_addresses(settings.ipam_config or EndpointIpam())


def _check_addresses(asked: EndpointIpam) -> None:
    """Whether they are addresses at all; whether they fit is seen when they are taken."""
    for family, text in ((4, asked.ipv4_address), (6, asked.ipv6_address)):
        if text and not _is_address(text, family):
            raise InvalidArgument(f"invalid IPv{family} address: {text}")
    for text in asked.link_local_ips or ():
        if not (_is_address(text, 4) or _is_address(text, 6)):
            raise InvalidArgument(f"invalid link-local IP address: {text}")


def _is_address(text: str, family: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == family
    except ValueError:
        return False


def parse_link(text: str) -> tuple[str, str]:
    """Container and alias of ``CONTAINER:ALIAS`` or ``CONTAINER``; InvalidArgument. Slashes, as
    an inspection shows them, are fine."""
    container, colon, alias = text.partition(":")
    container = container.removeprefix("/")
    if ":" in alias:
        raise InvalidArgument(f"bad format for links: {text}")
    alias = alias.rpartition("/")[2]
    if not container or (colon and not alias):
        raise InvalidArgument(f"invalid format to parse container links: {text}")
    return container, alias or container


def endpoint_request(
    record: Container, network: str, settings: EndpointSettings
) -> EndpointRequest:
    ipam = settings.ipam_config
    # The container's own hardware address is that of its network mode's endpoint.
    first = next(iter(record.networking), "") == network
    return EndpointRequest(
        container_id=record.id,
        container_name=record.name,
        ipv4=ipam.ipv4_address if ipam else "",
        ipv6=ipam.ipv6_address if ipam else "",
        mac=settings.mac_address or (record.config.mac_address or "" if first else ""),
        link_local=tuple(ipam.link_local_ips or ()) if ipam else (),
        interface=(settings.driver_opts or {}).get(_OPTION_INTERFACE, ""),
    )


def dns_names(record: Container, settings: EndpointSettings) -> tuple[str, ...]:
    """What a container is called on a user-defined network, its name first."""
    names = (record.name, *(settings.aliases or ()), record.id[:12], record.hostname)
    return tuple(dict.fromkeys(names))


def in_order_of_gateways(record: Container, endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """The highest priority first, then by the network's name, as Docker decides."""

    def key(endpoint: Endpoint) -> tuple[int, str]:
        settings = record.networking.get(endpoint.network_name, EndpointSettings())
        return -settings.gw_priority, endpoint.network_name

    return sorted(endpoints, key=key)
