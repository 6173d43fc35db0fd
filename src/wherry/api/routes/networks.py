"""Networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.params import filters, json_body, shaped
from wherry.api.wire import networks as wire
from wherry.engine.api import EngineApi
from wherry.engine.filters import as_bool, check_names, labels_match
from wherry.errors import InvalidArgument, NotFound, NotSupported, PermissionDenied
from wherry.model.container import EndpointSettings
from wherry.network.api import Network, NetworkRequest, Subnet

PREDEFINED = ("bridge", "host", "none")
_KINDS = ("builtin", "custom")
_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")


class _IpamConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    subnet: str = ""
    ip_range: str = msgspec.field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = {}


class _Ipam(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    driver: str = "default"
    options: dict[str, str] = {}
    config: tuple[_IpamConfig, ...] = ()


class _ConfigFrom(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    network: str = ""


class _Create(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/create``."""

    name: str
    driver: str = "bridge"
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: _ConfigFrom = _ConfigFrom()
    scope: str = ""
    ipam: _Ipam = msgspec.field(default=_Ipam(), name="IPAM")
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool = msgspec.field(default=False, name="EnableIPv6")
    options: dict[str, str] = {}
    labels: dict[str, str] = {}


async def create(context: Context, request: Request, _: str) -> Reply:
    asked = shaped(await json_body(request, context.settings), _Create)
    _refuse(asked)
    made = await context.quick(context.engine.attachments.create, _request(asked))
    return context.json({"Id": made.id, "Warning": ""}, 201)


def _refuse(asked: _Create) -> None:
    """What belongs to a swarm, with Docker's statuses, and what this engine does not offer."""
    if asked.ingress:
        raise PermissionDenied("Ingress network can only be global scope network")
    if asked.scope == "swarm":
        raise PermissionDenied("cannot create a swarm scoped network when swarm is not active")
    if asked.scope not in ("", "local"):
        raise InvalidArgument(f"invalid network scope {asked.scope!r}: want local")
    driver = asked.ipam.driver
    if driver == "null":
        raise NotSupported("the IPAM driver null is not supported: only default is")
    if driver not in ("", "default"):
        raise NotFound(f'plugin "{driver}" not found: the IPAM driver default is the only one')


def _request(asked: _Create) -> NetworkRequest:
    for config in asked.ipam.config:
        if not config.subnet and (config.gateway or config.ip_range or config.auxiliary_addresses):
            raise InvalidArgument(
                "every gateway, ip-range and aux-address must have a corresponding subnet"
            )
    subnets = tuple(
        Subnet(
            subnet=config.subnet,
            gateway=config.gateway,
            ip_range=config.ip_range,
            auxiliary=config.auxiliary_addresses,
        )
        for config in asked.ipam.config
        if config.subnet
    )
    return NetworkRequest(
        name=asked.name,
        driver=asked.driver or "bridge",
        subnets=subnets,
        internal=asked.internal,
        ipv4=asked.enable_ipv4 is not False,
        ipv6=asked.enable_ipv6,
        attachable=asked.attachable,
        options=asked.options,
        ipam_options=asked.ipam.options,
        labels=asked.labels,
        config_only=asked.config_only,
        config_from=asked.config_from.network,
    )


async def list_(context: Context, request: Request, _: str) -> Reply:
    wanted = filters(request)
    check_names(wanted, _FILTERS, ("dangling",))
    for kind in wanted.get("type", ()):
        if kind not in _KINDS:
            raise InvalidArgument(f"invalid filter: 'type'='{kind}'")
    networks = context.engine.networks
    found = [n for n in networks.list() if _matches(context.engine, n, wanted)]
    # before 1.28 a list told the containers as well
    full = request.version < (1, 28)
    return context.json([_json(context.engine, n) if full else wire.network(n) for n in found])


def _matches(engine: EngineApi, network: Network, wanted: Mapping[str, Sequence[str]]) -> bool:
    checks = {
        "driver": lambda values: network.driver in values,
        "id": lambda values: any(network.id.startswith(v) for v in values),
        "name": lambda values: any(v in network.name for v in values),
        "scope": lambda values: "local" in values,
        "type": lambda values: _kind(network) in values,
        "label": lambda values: labels_match(values, network.labels),
        "dangling": lambda values: as_bool("dangling", values) is _dangling(engine, network),
    }
    return all(checks[name](values) for name, values in wanted.items() if values)


def _kind(network: Network) -> str:
    return "builtin" if network.name in PREDEFINED else "custom"


def _dangling(engine: EngineApi, network: Network) -> bool:
    return _kind(network) == "custom" and not engine.networks.endpoints(network.id)


def _json(engine: EngineApi, network: Network) -> object:
    endpoints = engine.networks.endpoints(network.id)
    names = {c.id: c.name for c in engine.containers.list(running_only=False)} if endpoints else {}
    return wire.network(network, endpoints, names)


async def inspect(context: Context, request: Request, name: str) -> Reply:
    if request.value("scope") not in ("", "local"):
        raise NotFound(f"network {name} not found: this engine's networks are all of scope local")
    return context.json(_json(context.engine, context.engine.networks.get(name)))


async def remove(context: Context, request: Request, name: str) -> Reply:
    await context.quick(context.engine.attachments.remove, name)
    return context.empty()


async def prune(context: Context, request: Request, _: str) -> Reply:
    gone = await context.slow(context.engine.attachments.prune, filters(request))
    context.engine.events.pruned("network", 0)
    return context.json({"NetworksDeleted": gone or None})


class _Connect(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/{id}/connect``."""

    container: str = ""
    endpoint_config: EndpointSettings | None = None


class _Disconnect(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """The body of ``POST /networks/{id}/disconnect``."""

    container: str = ""
    force: bool = False


async def connect(context: Context, request: Request, name: str) -> Reply:
    asked = shaped(await json_body(request, context.settings), _Connect)
    await context.quick(
        context.engine.attachments.connect,
        name,
        _container(asked.container),
        asked.endpoint_config or EndpointSettings(),
    )
    return context.empty(200)


async def disconnect(context: Context, request: Request, name: str) -> Reply:
    asked = shaped(await json_body(request, context.settings), _Disconnect)
    await context.slow(
        context.engine.attachments.disconnect, name, _container(asked.container), force=asked.force
    )
    return context.empty(200)


def _container(name: str) -> str:
    if not name:
        raise InvalidArgument("no container was named: give its name or id as Container")
    return name


ROUTES = (
    Route("GET", "/networks", list_),
    Route("POST", "/networks/create", create, _Create),
    Route("POST", "/networks/prune", prune),
    Route("POST", "/networks/*/connect", connect, _Connect),
    Route("POST", "/networks/*/disconnect", disconnect, _Disconnect),
    Route("GET", "/networks/*", inspect),
    Route("DELETE", "/networks/*", remove),
)
