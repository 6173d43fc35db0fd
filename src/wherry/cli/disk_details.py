"""``system df --verbose``: what takes the space, one by one."""

from __future__ import annotations

from wherry.cli.images import image_rows
from wherry.cli.listing import Row
from wherry.cli.ps import container_row
from wherry.cli.text import ago, human_size, parse_stamp, table

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_IMAGES = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "Size": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
}
_CONTAINERS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "LocalVolumes": "LOCAL VOLUMES",
    "Size": "SIZE",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Names": "NAMES",
}
_VOLUMES = {"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}
_CACHE = {
    "ID": "CACHE ID",
    "Type": "CACHE TYPE",
    "Size": "SIZE",
    "CreatedSince": "CREATED",
    "UsedSince": "LAST USED",
    "UsageCount": "USAGE",
    "Shared": "SHARED",
}


def details(usage: Any) -> Iterator[str]:
    """The lines for an answer of ``GET /system/df``."""
    images = (row for item in usage.get("Images") or () for row in _image_rows(item))
    yield from _section("Images space usage:", _IMAGES, images)
    containers = (_container(item) for item in usage.get("Containers") or ())
    yield from _section("Containers space usage:", _CONTAINERS, containers)
    volumes = (_volume(item) for item in usage.get("Volumes") or ())
    yield from _section("Local Volumes space usage:", _VOLUMES, volumes)
    cache = usage.get("BuildCache") or []
    whole = human_size(sum(entry.get("Size") or 0 for entry in cache))
    yield from _section(f"Build cache usage: {whole}", _CACHE, map(_entry, cache))


def _section(title: str, columns: Mapping[str, str], rows: Iterable[Row]) -> Iterator[str]:
    yield from (title, "")
    cells = [tuple(row[name] for name in columns) for row in rows]
    yield from table([tuple(columns.values()), *cells])
    yield ""


def _image_rows(item: Any) -> Iterator[Row]:
    shared = max(0, item.get("SharedSize") or 0)
    sizes = {"SharedSize": human_size(shared), "UniqueSize": human_size(item["Size"] - shared)}
    for row in image_rows(item, truncate=True, digests=False):
        yield {**row, **sizes}


def _container(item: Any) -> Row:
    return {**container_row(item, truncate=True), "Size": human_size(item.get("SizeRw") or 0)}


def _volume(item: Any) -> Row:
    data = item.get("UsageData") or {}
    size, links = data.get("Size", -1), data.get("RefCount", -1)
    return {
        "Name": item["Name"],
        "Links": str(links) if links >= 0 else "N/A",
        "Size": human_size(size) if size >= 0 else "N/A",
    }


def _entry(item: Any) -> Row:
    return {
        "ID": item["ID"][:12],
        "Type": item["Type"],
        "Size": human_size(item.get("Size") or 0),
        "CreatedSince": ago(parse_stamp(item.get("CreatedAt") or "")),
        "UsedSince": ago(parse_stamp(item.get("LastUsedAt") or "")),
        "UsageCount": str(item.get("UsageCount") or 0),
        "Shared": str(bool(item.get("Shared"))).lower(),
    }
