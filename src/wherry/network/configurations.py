"""Networks that are configurations for others, and those that are made of one. Pure.

``ConfigOnly`` and ``ConfigFrom`` of Docker: a configuration has subnets, options and labels, and
nothing on the host; a network that is made of it takes them all.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wherry.errors import NotFound, PermissionDenied
from wherry.network.api import Network, NetworkRequest
from wherry.network.subnets import complete

DRIVER = "null"  # as Docker tells of them


def check_configuration(request: NetworkRequest) -> None:
    """Whether a request may be a configuration. PermissionDenied; InvalidArgument for a subnet."""
    if request.config_from:
        raise PermissionDenied("a configuration network cannot depend on another one")
    if request.internal or request.attachable:
        raise PermissionDenied(
            "configuration network can only contain network specific fields: internal and "
            "attachable belong to the networks that are made of it"
        )
    for subnet in request.subnets:
        complete(subnet)


def made_of(request: NetworkRequest, source: Network | None) -> NetworkRequest:
    """What is asked for with ``config_from``. NotFound, PermissionDenied."""
    if source is None or not source.config_only:
        raise NotFound(f'configuration network "{request.config_from}" does not exist')
    if request.subnets or request.options or request.ipam_options or request.ipv6:
        raise PermissionDenied(
            "user specified configurations are not supported if the network depends on a "
            "configuration network"
        )
    return msgspec.structs.replace(
        request,
        config_from=source.name,
        subnets=source.subnets,
        ipv4=source.ipv4,
        ipv6=source.ipv6,
        options=source.options,
        ipam_options=source.ipam_options,
        labels={**source.labels, **request.labels},
    )


def check_unused(configuration: Network, networks: Iterable[Network]) -> None:
    """PermissionDenied while a network is made of it."""
    if any(network.config_from == configuration.name for network in networks):
        raise PermissionDenied(
            f'error while removing network: configuration network "{configuration.name}" is in use'
        )
