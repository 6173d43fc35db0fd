"""Images as archives: save and load."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.api.context import Context, Route, lines_job
from wherry.api.downloads import download
from wherry.api.http.handoff import BodyReader, buffered
from wherry.api.http.message import Answer, Request
from wherry.api.params import flag
from wherry.errors import InvalidArgument


async def save_one(context: Context, request: Request, name: str) -> Answer:
    return await _save(context, request, [name])


async def save_many(context: Context, request: Request, _: str) -> Answer:
    names = [name for name in request.query.get("names", []) if name]
    if not names:
        raise InvalidArgument("saving images needs at least one name in the parameter names")
    return await _save(context, request, names)


async def _save(context: Context, request: Request, names: list[str]) -> Answer:
    work = context.engine.images.save
    return await download(context, request, lambda output: work(names, output))


async def load(context: Context, request: Request, _: str) -> Answer:
    """``quiet`` leaves out progress and keeps the names of what was loaded."""
    quiet = flag(request, "quiet")
    reader = BodyReader()
    work = context.engine.images.load

    def job(tell: Callable[[dict[str, object]], None]) -> object:
        with buffered(reader) as archive:
            return work(archive, (lambda v: tell(v) if "stream" in v else None) if quiet else tell)

    pump = asyncio.ensure_future(reader.pump(request.body))
    try:
        # Clients look for what went wrong in the stream, whatever it was.
        return await lines_job(context, request, job, always_begin=True)
    finally:
        pump.cancel()


ROUTES = (
    Route("GET", "/images/**/get", save_one),
    Route("GET", "/images/get", save_many),
    Route("POST", "/images/load", load),
)
