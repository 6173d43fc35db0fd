"""Images out of containers and archives: ``docker commit`` and ``docker import``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.api.context import Context, Route, lines_job
from wherry.api.http.handoff import BodyReader, buffered
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import flag, json_body, shaped
from wherry.engine.api import CommitOptions, ImportOptions
from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig

_FROM_BODY = "-"


async def commit(context: Context, request: Request, _: str) -> Reply:
    ref = request.value("container")
    if not ref:
        raise InvalidArgument("committing needs a container in the parameter container")
    body = await json_body(request, context.settings, optional=True)
    options = CommitOptions(
        repository=request.value("repo"),
        tag=request.value("tag"),
        author=request.value("author"),
        comment=request.value("comment"),
        pause=flag(request, "pause", True),
        changes=_changes(request),
        config=shaped(body or {}, ContainerConfig),
    )
    image = await context.slow(context.engine.commits.commit, ref, options)
    return context.json({"Id": image}, 201)


def _changes(request: Request) -> tuple[str, ...]:
    """One parameter for each instruction; or several instructions in one, line by line."""
    texts = request.query.get("changes", [])
    return tuple(line.strip() for text in texts for line in text.splitlines() if line.strip())


async def import_image(context: Context, request: Request) -> Answer:
    """``POST /images/create?fromSrc=``: ``-`` is the body, anything else a URL."""
    source = request.value("fromSrc")
    options = ImportOptions(
        source=source if "://" in source or source == _FROM_BODY else f"http://{source}",
        repository=request.value("repo"),
        tag=request.value("tag"),
        message=request.value("message"),
        platform=request.value("platform"),
        changes=_changes(request),
    )
    work = context.engine.commits.import_image
    if source != _FROM_BODY:
        return await lines_job(context, request, lambda tell: work(None, options, tell))
    reader = BodyReader()

    def job(tell: Callable[[dict[str, object]], None]) -> object:
        with buffered(reader) as archive:
            return work(archive, options, tell)

    pump = asyncio.ensure_future(reader.pump(request.body))
    try:
        return await lines_job(context, request, job)
    finally:
        pump.cancel()


ROUTES = (Route("POST", "/commit", commit),)
