"""What goes over the network to registries: pull, push, log in."""

from __future__ import annotations

from wherry.api.context import Context, Route, lines_job
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import as_credentials, json_body, registry_auth
from wherry.api.routes.commit import import_image
from wherry.errors import InvalidArgument


async def create(context: Context, request: Request, _: str) -> Answer:
    """Pull, or with ``fromSrc`` import. Without a tag it is ``latest``; Docker would pull every tag
    there is."""
    if request.value("fromSrc"):
        return await import_image(context, request)
    name = request.value("fromImage")
    if not name:
        raise InvalidArgument("pulling an image needs its name in the parameter fromImage")
    reference = joined(name, request.value("tag"))
    platform, credentials = request.value("platform"), registry_auth(request)
    pull = context.engine.images.pull
    return await lines_job(
        context,
        request,
        lambda tell: pull(reference, platform=platform, credentials=credentials, progress=tell),
    )


def joined(name: str, tag: str) -> str:
    """The name with a tag or digest that came beside it; the separate one wins."""
    if not tag or "@" in name:
        return name
    if ":" in tag:
        return f"{name}@{tag}"
    head, colon, tail = name.rpartition(":")
    if colon and "/" not in tail:
        name = head
    return f"{name}:{tag}"


async def push(context: Context, request: Request, name: str) -> Answer:
    reference = joined(name, request.value("tag"))
    credentials = registry_auth(request)
    work = context.engine.images.push
    return await lines_job(
        context,
        request,
        lambda tell: work(reference, credentials=credentials, progress=tell),
    )


async def distribution(context: Context, request: Request, name: str) -> Reply:
    """Definition DistributionInspect."""
    found = await context.slow(context.engine.images.describe, name, registry_auth(request))
    described = {
        "mediaType": found.descriptor.media_type,
        "digest": found.descriptor.digest,
        "size": found.descriptor.size,
    }
    return context.json({"Descriptor": described, "Platforms": found.platforms})


async def login(context: Context, request: Request, _: str) -> Reply:
    credentials = as_credentials(await json_body(request, context.settings))
    await context.slow(context.engine.images.login, credentials)
    return context.json({"Status": "Login Succeeded", "IdentityToken": ""})


ROUTES = (
    Route("POST", "/auth", login),
    Route("GET", "/distribution/**/json", distribution),
    Route("POST", "/images/create", create),
    Route("POST", "/images/**/push", push),
)
