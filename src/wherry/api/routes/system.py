"""Ping, version, information, disk usage."""

from __future__ import annotations

from typing import Any

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.image_counts import count_images
from wherry.api.routes.volumes import usage_of, volume_json
from wherry.api.wire import containers as container_wire
from wherry.api.wire import older
from wherry.api.wire import system as wire
from wherry.engine.api import EngineApi

_KINDS = ("container", "image", "volume", "build-cache")


async def ping(context: Context, request: Request, _: str) -> Reply:
    """``Builder-Version`` 1: sessions, which BuildKit needs, are not served."""
    headers = {
        **context.headers,
        "Builder-Version": "1",
        "Swarm": "inactive",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
    }
    return Reply(200, b"OK", "text/plain; charset=utf-8", headers)


async def version(context: Context, request: Request, _: str) -> Reply:
    info = context.engine.system.info()
    return context.json(wire.version(info, context.settings))


async def information(context: Context, request: Request, _: str) -> Reply:
    info = await context.quick(context.engine.system.info)
    found = wire.information(info, context.settings)
    return context.json(older.information(found, request.version))


async def disk_usage(context: Context, request: Request, _: str) -> Reply:
    kinds = request.query.get("type") or list(_KINDS)
    found = await context.slow(_usage, context.engine, kinds)
    return context.json(older.usage(found, request.version))


def _usage(engine: EngineApi, kinds: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "image" in kinds:
        found |= _image_usage(engine)
    if "container" in kinds:
        found["Containers"] = [
            container_wire.summary(c, engine.containers.size(c.id))
            for c in engine.containers.list(running_only=False)
        ]
    if "volume" in kinds:
        volumes = engine.volumes
        found["Volumes"] = [volume_json(v, usage_of(volumes, v)) for v in volumes.list()]
    if "build-cache" in kinds:
        uses = engine.builds.cache()
        found["BuildCache"] = [wire.cache_use(use) for use in uses]
        found["BuilderSize"] = sum(use.size for use in uses)
    return found


def _image_usage(engine: EngineApi) -> dict[str, Any]:
    images = engine.image_store.list()
    counts = count_images(engine)
    sizes = {layer.chain_id: layer.size for image in images for layer in image.layers}
    lines = [counts.summary(image, shared=True) for image in images]
    return {"LayersSize": sum(sizes.values()), "Images": lines}


ROUTES = (
    Route("GET", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", information),
    Route("GET", "/system/df", disk_usage),
)
