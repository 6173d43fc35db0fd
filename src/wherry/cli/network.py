"""``network``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.each import each
from wherry.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, Listing, Row, filters, labels_text
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.cli.text import short_id
from wherry.cli.values import pairs
from wherry.client.session import quote
from wherry.errors import NotFound

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = {"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE"}
_HIDDEN = {
    "CreatedAt": "CREATED AT",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
}


def _list(context: Context, arguments: Arguments) -> int:
    items = context.session.get("/networks", {"filters": filters(arguments)})
    truncate = not arguments.flag("no-trunc")
    rows = sorted((_row(item, truncate) for item in items), key=lambda row: row["Name"])
    Listing(_COLUMNS, hidden=_HIDDEN).show(context, rows, arguments)
    return 0


def _row(item: Any, truncate: bool) -> Row:
    return {
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "Name": item["Name"],
        "Driver": item["Driver"],
        "Scope": item["Scope"],
        "CreatedAt": item["Created"],
        "IPv6": str(bool(item.get("EnableIPv6"))).lower(),
        "Internal": str(bool(item.get("Internal"))).lower(),
        "Labels": labels_text(item.get("Labels")),
    }


def _create(context: Context, arguments: Arguments) -> int:
    body = {
        "Name": arguments.words[0],
        "CheckDuplicate": True,
        "Driver": arguments.text("driver"),
        "Internal": arguments.flag("internal"),
        "Attachable": arguments.flag("attachable"),
        "ConfigOnly": arguments.flag("config-only"),
        "ConfigFrom": {"Network": arguments.text("config-from")},
        "EnableIPv6": arguments.flag("ipv6"),
        **({"EnableIPv4": arguments.flag("ipv4")} if arguments.given("ipv4") else {}),
        "IPAM": {
            "Driver": arguments.text("ipam-driver"),
            "Config": _pools(arguments),
            "Options": pairs(arguments.many("ipam-opt")),
        },
        "Options": pairs(arguments.many("opt")),
        "Labels": pairs(arguments.many("label")),
    }
    answer = context.session.post("/networks/create", json=body)
    if answer.get("Warning"):
        context.complain(f"WARNING: {answer['Warning']}")
    context.print(answer["Id"])
    return 0


def _pools(arguments: Arguments) -> list[dict[str, Any]]:
    """One pool for each subnet, with the gateway, range and reserved addresses that are in it."""
    subnets = _split(arguments.many("subnet"))
    gateways, ranges = _split(arguments.many("gateway")), _split(arguments.many("ip-range"))
    if len(gateways) > len(subnets) or len(ranges) > len(subnets):
        raise UsageError("every --gateway and --ip-range needs a --subnet of its own", 1)
    reserved = pairs(_split(arguments.many("aux-address")), "auxiliary address")
    pools: list[dict[str, Any]] = [{"Subnet": subnet} for subnet in subnets]
    for name, values in (("Gateway", gateways), ("IPRange", ranges)):
        for value in values:
            _pool_of(value, pools)[name] = value
    for name, address in reserved.items():
        _pool_of(address, pools).setdefault("AuxiliaryAddresses", {})[name] = address
    return pools


def _pool_of(text: str, pools: list[dict[str, Any]]) -> dict[str, Any]:
    """The pool with the subnet that an address or a range is in."""
    if len(pools) > 1:
        for pool in pools:
            if _contains(pool["Subnet"], text):
                return pool
    if len(pools) != 1:
        raise UsageError(f"no matching subnet for {text}", 1)
    return pools[0]  # the engine tells what is wrong


def _contains(subnet: str, text: str) -> bool:
    import ipaddress

    try:
        inner = ipaddress.ip_network(text, strict=False)
        outer = ipaddress.ip_network(subnet, strict=False)
    except ValueError:
        return False
    return (
        inner.version == outer.version
        and inner.network_address in outer
        and inner.prefixlen >= outer.prefixlen
    )


def _split(values: list[str]) -> list[str]:
    return [part for value in values for part in value.split(",") if part]


def _remove(context: Context, arguments: Arguments) -> int:
    def act(name: str) -> None:
        try:
            context.session.delete(f"/networks/{quote(name)}")
        except NotFound:
            if not arguments.flag("force"):
                raise
            return
        context.print(name)

    return each(context, arguments.words, act, show=False)


def _connect(context: Context, arguments: Arguments) -> int:
    network, container = arguments.words
    addresses = {
        "IPv4Address": arguments.text("ip"),
        "IPv6Address": arguments.text("ip6"),
        "LinkLocalIPs": arguments.many("link-local-ip"),
    }
    settings: dict[str, Any] = {
        "IPAMConfig": {name: value for name, value in addresses.items() if value},
        "Aliases": arguments.many("alias"),
        "Links": arguments.many("link"),
        "DriverOpts": pairs(arguments.many("driver-opt")),
        "GwPriority": _priority(arguments.text("gw-priority")),
    }
    body = {
        "Container": container,
        "EndpointConfig": {name: value for name, value in settings.items() if value},
    }
    context.session.post(f"/networks/{quote(network)}/connect", json=body)
    return 0


def _priority(text: str) -> int:
    try:
        return int(text or "0")
    except ValueError:
        raise UsageError(f"invalid --gw-priority {text!r}: want a number", 1) from None


def _disconnect(context: Context, arguments: Arguments) -> int:
    network, container = arguments.words
    body = {"Container": container, "Force": arguments.flag("force")}
    context.session.post(f"/networks/{quote(network)}/disconnect", json=body)
    return 0


COMMANDS = {
    "ls": Command(
        "network ls [OPTIONS]", "List networks", _list, (FILTER, FORMAT, NO_TRUNC, QUIET), most=0
    ),
    "create": Command(
        "network create [OPTIONS] NETWORK",
        "Create a network",
        _create,
        (
            Option("--attachable", "Enable manual container attachment", "flag"),
            Option("--aux-address", "Auxiliary addresses used by the driver", "list"),
            Option("--config-from", "The network from which to copy the configuration"),
            Option("--config-only", "Create a configuration only network", "flag"),
            Option("-d --driver", "Driver to manage the network", default="bridge"),
            Option("--gateway", "Gateway for the subnet", "list"),
            Option("--internal", "Restrict external access to the network", "flag"),
            Option("--ip-range", "Allocate container addresses from a sub-range", "list"),
            Option("--ipam-driver", "IP address management driver", default="default"),
            Option("--ipam-opt", "Set IPAM driver specific options", "list"),
            Option("--ipv4", "Enable IPv4 networking", "flag", default="true"),
            Option("--ipv6", "Enable IPv6 networking", "flag"),
            Option("--label", "Set metadata on a network", "list"),
            Option("-o --opt", "Set driver specific options", "list"),
            Option("--subnet", "Subnet in CIDR format", "list"),
        ),
        least=1,
        most=1,
    ),
    "rm": Command(
        "network rm NETWORK [NETWORK...]",
        "Remove one or more networks",
        _remove,
        (Option("-f --force", "Do not error if the network does not exist", "flag"),),
        least=1,
    ),
    "connect": Command(
        "network connect [OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network",
        _connect,
        (
            Option("--alias", "Add network-scoped alias for the container", "list"),
            Option("--driver-opt", "Driver options for the network", "list"),
            Option("--gw-priority", "Highest gw-priority provides the default gateway"),
            Option("--ip", "IPv4 address (e.g., 172.30.100.104)"),
            Option("--ip6", "IPv6 address (e.g., 2001:db8::33)"),
            Option("--link", "Add link to another container", "list"),
            Option("--link-local-ip", "Add a link-local address for the container", "list"),
        ),
        least=2,
        most=2,
    ),
    "disconnect": Command(
        "network disconnect [OPTIONS] NETWORK CONTAINER",
        "Disconnect a container from a network",
        _disconnect,
        (Option("-f --force", "Force the container to disconnect", "flag"),),
        least=2,
        most=2,
    ),
}
