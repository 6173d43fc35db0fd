"""Wherry's own endpoints, below ``/wherry``."""

from __future__ import annotations

from wherry.api.context import Context, Route, lines_job
from wherry.api.http.message import Answer, Reply, Request
from wherry.errors import InvalidArgument


async def bootstrap(context: Context, request: Request, _: str) -> Answer:
    """Make a base image; JSON lines of progress, at the end ``{"aux": {"ID": ...}}``."""
    name = request.value("name")
    if not name:
        raise InvalidArgument("bootstrapping needs an image's name in the parameter name")
    work = context.engine.images.bootstrap

    def job(tell: object) -> None:
        assert callable(tell)
        image = work(name, progress=tell)
        tell({"aux": {"ID": image.id}})

    return await lines_job(context, request, job)


async def bootstrap_names(context: Context, request: Request, _: str) -> Reply:
    names = context.engine.images.bootstrap_names()
    return context.json([{"Name": name, "Description": text} for name, text in names])


ROUTES = (
    Route("POST", "/wherry/bootstrap", bootstrap),
    Route("GET", "/wherry/bootstrap", bootstrap_names),
)
