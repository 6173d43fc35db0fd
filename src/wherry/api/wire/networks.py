"""Networks, volumes and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wherry.api.times import rfc3339
from wherry.engine.records import Event
from wherry.network.api import Endpoint, Network, Subnet

_NANO = 1_000_000_000


def network(
    value: Network, endpoints: Iterable[Endpoint] = (), names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Definition Network; ``names`` are those of the containers, by id."""
    return {
        "Name": value.name,
        "Id": value.id,
        "Created": rfc3339(value.created_ns),
        "Scope": "local",
        "Driver": value.driver,
        "EnableIPv4": value.ipv4,
        "EnableIPv6": value.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": value.ipam_options or None,
            "Config": [_subnet(subnet) for subnet in value.subnets],
        },
        "Internal": value.internal,
        "Attachable": value.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": value.config_from},
        "ConfigOnly": value.config_only,
        "Containers": {e.container_id: _member(e, names or {}) for e in endpoints},
        "Options": value.options,
        "Labels": value.labels,
    }


def _subnet(value: Subnet) -> dict[str, Any]:
    members: dict[str, Any] = {"Subnet": value.subnet}
    if value.ip_range:
        members["IPRange"] = value.ip_range
    if value.gateway:
        members["Gateway"] = value.gateway
    if value.auxiliary:
        members["AuxiliaryAddresses"] = value.auxiliary
    return members


def _member(endpoint: Endpoint, names: Mapping[str, str]) -> dict[str, str]:
    ipv6 = f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else ""
    return {
        "Name": names.get(endpoint.container_id, ""),
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
        "IPv6Address": ipv6,
    }


def event(value: Event) -> dict[str, Any]:
    """Definition EventMessage, with the flat fields that clients before 1.52 still get."""
    old: dict[str, Any] = {}
    if value.type in ("container", "image"):
        old = {"status": value.action, "id": value.actor_id}
        if value.type == "container":
            old["from"] = value.attributes.get("image", "")
    return {
        **old,
        "Type": value.type,
        "Action": value.action,
        "Actor": {"ID": value.actor_id, "Attributes": value.attributes},
        "scope": "local",
        "time": value.time_ns // _NANO,
        "timeNano": value.time_ns,
    }
