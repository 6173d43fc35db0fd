"""Volumes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.params import filters, flag, json_body, shaped
from wherry.api.times import rfc3339
from wherry.engine.api import EngineApi
from wherry.engine.filters import as_bool, as_time, check_names, labels_match
from wherry.engine.volume_api import SNAPSHOT_OF
from wherry.errors import Conflict, NotFound
from wherry.volume.api import Volume, Volumes

_ANONYMOUS = "com.docker.volume.anonymous"
_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("all", "label", "label!", "until")


class _Create(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Definition VolumeCreateOptions."""

    name: str = ""
    driver: str = "local"
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}


def volume_json(volume: Volume, usage: dict[str, int] | None = None) -> dict[str, Any]:
    """Definition Volume."""
    mark = {_ANONYMOUS: ""} if volume.anonymous else {}
    found: dict[str, Any] = {
        "CreatedAt": rfc3339(volume.created_ns),
        "Driver": volume.driver,
        "Labels": {**volume.labels, **mark} or None,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }
    if usage is not None:
        found["UsageData"] = usage
    return found


def usage_of(volumes: Volumes, volume: Volume) -> dict[str, int]:
    """Definition Volume, field UsageData."""
    return {"Size": volumes.usage(volume.name), "RefCount": len(volumes.users(volume.name))}


async def create(context: Context, request: Request, _: str) -> Reply:
    asked = shaped(await json_body(request, context.settings, optional=True), _Create)
    made = await context.quick(
        context.engine.volumes.create,
        asked.name or None,
        asked.driver or "local",
        asked.driver_opts,
        asked.labels,
    )
    return context.json(volume_json(made), 201)


async def list_(context: Context, request: Request, _: str) -> Reply:
    wanted = filters(request)
    check_names(wanted, _FILTERS, ("dangling",))
    volumes = context.engine.volumes
    found = [volume_json(v) for v in volumes.list() if _matches(volumes, v, wanted)]
    return context.json({"Volumes": found, "Warnings": None})


def _matches(volumes: Volumes, volume: Volume, wanted: Mapping[str, Sequence[str]]) -> bool:
    checks = {
        "name": lambda values: any(v in volume.name for v in values),
        "driver": lambda values: volume.driver in values,
        "label": lambda values: labels_match(values, volume.labels),
        "dangling": lambda values: (
            as_bool("dangling", values) is not bool(volumes.users(volume.name))
        ),
    }
    return all(checks[name](values) for name, values in wanted.items() if values)


async def inspect(context: Context, request: Request, name: str) -> Reply:
    return context.json(volume_json(context.engine.volumes.get(name)))


async def remove(context: Context, request: Request, name: str) -> Reply:
    """With ``force`` a volume that does not exist is removed already."""
    try:
        await context.slow(context.engine.volumes.remove, name)
    except NotFound:
        if not flag(request, "force"):
            raise
    return context.empty()


async def prune(context: Context, request: Request, _: str) -> Reply:
    """Since 1.42 only anonymous volumes, unless the filter ``all`` is true."""
    wanted = filters(request)
    check_names(wanted, _PRUNE_FILTERS)
    named = request.version < (1, 42) or ("all" in wanted and as_bool("all", wanted["all"]))
    gone, reclaimed = await context.slow(_prune, context.engine, wanted, named)
    context.engine.events.pruned("volume", reclaimed)
    return context.json({"VolumesDeleted": gone, "SpaceReclaimed": reclaimed})


def _prune(
    engine: EngineApi, wanted: Mapping[str, Sequence[str]], named: bool
) -> tuple[list[str], int]:
    before = [as_time(text, time.time_ns()) for text in wanted.get("until", ())]
    gone, reclaimed = [], 0
    for volume in engine.volumes.list():
        chosen = (named or volume.anonymous) and _prunable(volume, wanted, before)
        if not chosen or engine.volumes.users(volume.name):
            continue
        size = max(0, engine.volumes.usage(volume.name))
        try:
            engine.volumes.remove(volume.name)
        except (Conflict, NotFound):  # somebody was quicker
            continue
        gone.append(volume.name)
        reclaimed += size
    return gone, reclaimed


def _prunable(volume: Volume, wanted: Mapping[str, Sequence[str]], before: list[int]) -> bool:
    if SNAPSHOT_OF in volume.labels and not wanted.get("label"):
        return False  # a backup goes when it is meant
    kept = "label!" in wanted and labels_match(wanted["label!"], volume.labels)
    named = labels_match(wanted.get("label", ()), volume.labels)
    return named and not kept and all(volume.created_ns < moment for moment in before)


ROUTES = (
    Route("GET", "/volumes", list_),
    Route("POST", "/volumes/create", create, _Create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/*", inspect),
    Route("DELETE", "/volumes/*", remove),
)
