"""``GET /containers/{id}/stats``: once, or every second until the client or the container goes."""

from __future__ import annotations

import asyncio

from wherry.api.context import Context, Route, line
from wherry.api.http.message import Answer, Request
from wherry.api.params import flag
from wherry.api.wire import stats as wire
from wherry.engine.api import StatsSample
from wherry.errors import InvalidArgument, NotFound

_INTERVAL = 1.0  # seconds, as clients compute percentages from


async def stats(context: Context, request: Request, ref: str) -> Answer:
    container = context.engine.containers.get(ref)
    if flag(request, "stream", True):
        if flag(request, "one-shot"):
            raise InvalidArgument("cannot have stream=true and one-shot=true")
        return await _streamed(context, request, container.id)
    before: StatsSample | None = None
    if container.state.running and not flag(request, "one-shot"):
        before = await _sample(context, container.id)
        await asyncio.sleep(_INTERVAL)
    now = await _sample(context, container.id)
    return context.json(wire.stats(container, now, before if now else None))


async def _sample(context: Context, ref: str) -> StatsSample | None:
    return await context.quick(context.engine.containers.stats, ref)


async def _streamed(context: Context, request: Request, ref: str) -> Answer:
    """The first sample has nothing before it. Ends when the container is removed."""
    stream = context.stream(request)
    before: StatsSample | None = None
    while True:
        try:
            container = context.engine.containers.get(ref)
            now = await _sample(context, ref)
        except NotFound:
            return stream
        await stream.write(line(wire.stats(container, now, before)))
        before = now
        await asyncio.sleep(_INTERVAL)


ROUTES = (Route("GET", "/containers/*/stats", stats),)
