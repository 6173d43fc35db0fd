"""Files of containers as archives: ``docker cp`` and ``docker export``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.api.context import Context, Route
from wherry.api.downloads import download
from wherry.api.http.handoff import BodyReader
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import flag
from wherry.api.wire.files import STAT_HEADER, stat_header


async def about(context: Context, request: Request, ref: str) -> Reply:
    found = await context.slow(context.engine.files.stat, ref, request.value("path"))
    return Reply(200, headers={**context.headers, STAT_HEADER: stat_header(found)})


async def get(context: Context, request: Request, ref: str) -> Answer:
    path = request.value("path")
    headers: dict[str, str] = {}

    def job(output: Callable[[bytes], None]) -> None:
        context.engine.files.get(
            ref, path, lambda found: headers.update({STAT_HEADER: stat_header(found)}), output
        )

    return await download(context, request, job, headers=headers)


async def put(context: Context, request: Request, ref: str) -> Reply:
    path = request.value("path")
    keep_types, container_user = flag(request, "noOverwriteDirNonDir"), flag(request, "copyUIDGID")
    reader = BodyReader()

    def job() -> None:
        with reader as archive:
            context.engine.files.put(
                ref, path, archive, keep_types=keep_types, container_user=container_user
            )

    pump = asyncio.ensure_future(reader.pump(request.body))
    try:
        await context.slow(job)
    finally:
        pump.cancel()
    return context.empty(200)


async def export(context: Context, request: Request, ref: str) -> Answer:
    work = context.engine.files.export
    return await download(context, request, lambda output: work(ref, output))


ROUTES = (
    Route("HEAD", "/containers/*/archive", about),
    Route("GET", "/containers/*/archive", get),
    Route("PUT", "/containers/*/archive", put),
    Route("GET", "/containers/*/export", export),
)
