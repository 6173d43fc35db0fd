"""``ps`` and ``container ls``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wherry.cli.context import Context
from wherry.cli.listing import FILTER, FORMAT, NO_TRUNC, QUIET, Listing, Row, filters, labels_text
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import ago, ellipsis, human_size, local_stamp, quoted, short_id

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_COMMAND_WIDTH = 20
_COLUMNS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
}
_HIDDEN = {
    "CreatedAt": "CREATED AT",
    "Labels": "LABELS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Mounts": "MOUNTS",
    "Networks": "NETWORKS",
    "Size": "SIZE",
    "State": "STATE",
}


def _ps(context: Context, arguments: Arguments) -> int:
    sized = arguments.flag("size") or ".Size" in arguments.text("format")
    limit = 1 if arguments.flag("latest") else arguments.number("last")
    query = {
        "all": arguments.flag("all") or limit > 0,
        "limit": limit if limit > 0 else None,
        "size": sized or None,
        "filters": filters(arguments),
    }
    truncate = not arguments.flag("no-trunc")
    rows = [
        container_row(item, truncate) for item in context.session.get("/containers/json", query)
    ]
    columns, hidden = dict(_COLUMNS), dict(_HIDDEN)
    if arguments.flag("size"):
        columns["Size"] = hidden.pop("Size")
    Listing(columns, hidden=hidden).show(context, rows, arguments)
    return 0


def container_row(item: Any, truncate: bool) -> Row:
    """A container of a list."""
    command = item["Command"]
    shown = ellipsis(command, _COMMAND_WIDTH) if truncate else command
    names = [name.lstrip("/") for name in item["Names"] or ()]
    mounts = item.get("Mounts") or []
    return {
        "ID": short_id(item["Id"]) if truncate else item["Id"],
        "Image": _image(item["Image"], truncate),
        "Command": quoted(shown),
        "RunningFor": ago(item["Created"]),
        "Status": item["Status"],
        "Ports": ports_text(item.get("Ports") or ()),
        "Names": ",".join(name for name in names if "/" not in name or not truncate),
        "CreatedAt": local_stamp(item["Created"]),
        "Labels": labels_text(item.get("Labels")),
        "LocalVolumes": str(sum(mount.get("Driver") == "local" for mount in mounts)),
        "Mounts": ",".join(_mount(mount, truncate) for mount in mounts),
        "Networks": ",".join(sorted(item.get("NetworkSettings", {}).get("Networks") or ())),
        "Size": _size(item),
        "State": item["State"],
    }


def _image(name: str, truncate: bool) -> str:
    if not name:
        return "<no image>"
    return short_id(name) if truncate and name.startswith("sha256:") else name


def _mount(mount: Any, truncate: bool) -> str:
    name = str(mount.get("Name") or mount.get("Source") or "")
    return ellipsis(name, 15) if truncate else name


def _size(item: Any) -> str:
    own = human_size(item.get("SizeRw") or 0)
    whole = item.get("SizeRootFs") or 0
    return f"{own} (virtual {human_size(whole)})" if whole else own


def ports_text(ports: Iterable[Any]) -> str:
    """``0.0.0.0:80->80/tcp, 8000-8002/tcp``: neighbours in ranges, as Docker shows them."""
    ordered = sorted(ports, key=_port_key)
    return ", ".join(_range_text(group) for group in _neighbours(ordered))


def _port_key(port: Any) -> tuple[str, str, int, int]:
    outside = port.get("PublicPort") or 0
    return (port.get("IP") or "", port["Type"], outside, port["PrivatePort"])


def _neighbours(ports: Iterable[Any]) -> Iterator[list[Any]]:
    group: list[Any] = []
    for port in ports:
        if group and not _follows(group[-1], port):
            yield group
            group = []
        group.append(port)
    if group:
        yield group


def _follows(last: Any, port: Any) -> bool:
    """Whether a range may go on: published ports keep their number inside, as Docker has it."""
    same = (last.get("IP"), last["Type"]) == (port.get("IP"), port["Type"])
    outside, before = port.get("PublicPort") or 0, last.get("PublicPort") or 0
    if not same or port["PrivatePort"] != last["PrivatePort"] + 1:
        return False
    if not outside and not before:
        return True
    return bool(outside == before + 1 and outside == port["PrivatePort"])


def _range_text(group: list[Any]) -> str:
    first, last = group[0], group[-1]
    inside = _span(first["PrivatePort"], last["PrivatePort"])
    if not first.get("PublicPort"):
        return f"{inside}/{first['Type']}"
    address = first.get("IP") or ""
    if ":" in address:
        address = f"[{address}]"
    outside = _span(first["PublicPort"], last["PublicPort"])
    return f"{address}:{outside}->{inside}/{first['Type']}"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


_LIST = Command(
    "ps [OPTIONS]",
    "List containers",
    _ps,
    (
        Option("-a --all", "Show all containers (default shows just running)", "flag"),
        FILTER,
        FORMAT,
        Option("-n --last", "Show n last created containers", "number", default="-1"),
        Option("-l --latest", "Show the latest created container", "flag"),
        NO_TRUNC,
        QUIET,
        Option("-s --size", "Display total file sizes", "flag"),
    ),
    most=0,
)
COMMANDS = {"ps": _LIST, "container ls": _LIST}
