"""``system df``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.listing import Listing, Row
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.cli.text import human_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _disk(context: Context, arguments: Arguments) -> int:
    usage = context.session.get("/system/df")
    if arguments.flag("verbose"):
        return _in_detail(context, arguments, usage)
    rows = [_images(usage), _containers(usage), _volumes(usage), _build_cache(usage)]
    Listing(_COLUMNS, quiet="Type").show(context, rows, arguments)
    return 0


def _in_detail(context: Context, arguments: Arguments, usage: Any) -> int:
    if arguments.text("format") not in ("", "table"):
        raise UsageError("conflicting options: --format and --verbose", 1)
    from wherry.cli.disk_details import details

    for line in details(usage):
        context.print(line)
    return 0


def _images(usage: Any) -> Row:
    images = usage.get("Images") or []
    used = sum(_own(image) for image in images if image.get("Containers", 0) > 0)
    active = sum(image.get("Containers", 0) > 0 for image in images)
    whole = usage.get("LayersSize") or 0
    return _row("Images", len(images), active, whole, max(0, whole - used))


def _own(image: Any) -> int:
    return int(max(0, image["Size"] - max(0, image.get("SharedSize") or 0)))


def _containers(usage: Any) -> Row:
    containers = usage.get("Containers") or []
    sizes = [(item.get("SizeRw") or 0, _is_active(item)) for item in containers]
    whole = sum(size for size, _ in sizes)
    free = sum(size for size, active in sizes if not active)
    return _row("Containers", len(sizes), sum(active for _, active in sizes), whole, free)


def _is_active(container: Any) -> bool:
    return container.get("State") in ("running", "paused", "restarting")


def _volumes(usage: Any) -> Row:
    data = [volume.get("UsageData") or {} for volume in usage.get("Volumes") or ()]
    sizes = [(max(0, item.get("Size", 0)), item.get("RefCount", 0) > 0) for item in data]
    whole = sum(size for size, _ in sizes)
    free = sum(size for size, active in sizes if not active)
    return _row("Local Volumes", len(sizes), sum(active for _, active in sizes), whole, free)


def _build_cache(usage: Any) -> Row:
    entries = usage.get("BuildCache") or []
    sizes = [(entry.get("Size") or 0, bool(entry.get("InUse"))) for entry in entries]
    whole = sum(size for size, _ in sizes)
    free = sum(size for size, active in sizes if not active)
    return _row("Build Cache", len(sizes), sum(active for _, active in sizes), whole, free)


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> Row:
    share = f" ({100 * reclaimable // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": human_size(size),
        "Reclaimable": f"{human_size(reclaimable)}{share}",
    }


COMMANDS = {
    "df": Command(
        "system df [OPTIONS]",
        "Show disk usage",
        _disk,
        (
            Option("--format", "Format output: 'table', 'json' or a Go template"),
            Option("-v --verbose", "Show detailed information on space usage", "flag"),
        ),
        most=0,
    )
}
