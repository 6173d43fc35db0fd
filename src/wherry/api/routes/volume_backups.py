"""Copies of volumes. Wherry's own: Docker's API has no such endpoints."""

from __future__ import annotations

import asyncio

import msgspec

from wherry.api.context import Context, Route
from wherry.api.downloads import download
from wherry.api.http.handoff import BodyReader, buffered
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import flag, json_body, shaped
from wherry.api.routes.volumes import volume_json
from wherry.volume.api import Volume


class _New(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Both may be left out."""

    name: str = ""
    labels: dict[str, str] = {}


async def export(context: Context, request: Request, name: str) -> Answer:
    """The content as a tar; with ``pause`` its users stand still meanwhile."""
    work, pause = context.engine.volume_backups.export, flag(request, "pause")
    return await download(context, request, lambda output: work(name, output, pause=pause))


async def import_(context: Context, request: Request, name: str) -> Reply:
    """The body is a tar, compressed or not."""
    reader = BodyReader()

    def job() -> Volume:
        with buffered(reader) as archive:
            return context.engine.volume_backups.import_volume(name, archive)

    pump = asyncio.ensure_future(reader.pump(request.body))
    try:
        return context.json(volume_json(await context.slow(job)), 201)
    finally:
        pump.cancel()


async def clone(context: Context, request: Request, name: str) -> Reply:
    asked = shaped(await json_body(request, context.settings, optional=True), _New)
    work, pause = context.engine.volume_backups.clone, flag(request, "pause")
    made = await context.slow(work, name, asked.name, asked.labels, pause=pause)
    return context.json(volume_json(made), 201)


async def snapshot(context: Context, request: Request, name: str) -> Reply:
    asked = shaped(await json_body(request, context.settings, optional=True), _New)
    work, pause = context.engine.volume_backups.snapshot, flag(request, "pause")
    made = await context.slow(work, name, asked.name, pause=pause)
    return context.json(volume_json(made), 201)


async def snapshots(context: Context, request: Request, name: str) -> Reply:
    found = context.engine.volume_backups.snapshots(name)
    return context.json({"Volumes": [volume_json(volume) for volume in found]})


ROUTES = (
    Route("GET", "/volumes/*/export", export),
    Route("POST", "/volumes/*/import", import_),
    Route("POST", "/volumes/*/clone", clone),
    Route("POST", "/volumes/*/snapshots", snapshot),
    Route("GET", "/volumes/*/snapshots", snapshots),
)
