"""Archives: answers whose body a thread makes and, where it can, sends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from wherry.api.context import NO_HEADERS, Context, running, stream_job
from wherry.api.http.handoff import Channel
from wherry.api.http.message import Answer, Request, Stream
from wherry.api.http.outlet import Download

_TAR = "application/x-tar"
_AHEAD = 4  # pieces, of a MiB each, where the event loop sends them


async def download(
    context: Context,
    request: Request,
    job: Callable[[Callable[[bytes], None]], object],
    *,
    headers: Mapping[str, str] = NO_HEADERS,
) -> Answer:
    """Run ``job`` in a thread and send the archive that it passes on piece by piece.

    The answer begins with the first piece, as that of :func:`stream_job` does: an error before it
    has a status of its own, one after it breaks the answer off. ``headers`` are read then.
    """
    if not request.wire.plain:
        channel: Channel[bytes] = Channel(_AHEAD)
        return await stream_job(
            context, request, lambda _: job(channel.put), _TAR, headers=headers, channel=channel
        )
    stream: Stream | None = None
    target = Download()
    async with running(context, lambda target: job(target.put), target) as task:
        wanted = asyncio.wrap_future(target.wanted)
        await asyncio.wait((task, wanted), return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            stream = context.stream(request, _TAR, headers=headers)
            target.give(await stream.outlet())
            await asyncio.wait((task,))
        wanted.cancel()
        if (error := task.exception()) is not None:
            raise error
    return stream or context.stream(request, _TAR, headers=headers)
