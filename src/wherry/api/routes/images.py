"""Images: list, inspect, name, remove."""

from __future__ import annotations

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.image_counts import count_images
from wherry.api.params import filters, flag
from wherry.api.wire import images as wire
from wherry.api.wire import older


async def list_(context: Context, request: Request, _: str) -> Reply:
    """Without ``all``, images that are only a step on the way to others are left out."""
    wanted = filters(request)
    if "filter" in request.query and request.version < (1, 41):
        wanted.setdefault("reference", (request.value("filter"),))
    found = context.engine.images.list(filters=wanted)
    if not flag(request, "all"):
        parents = {image.parent for image in context.engine.image_store.list()}
        found = tuple(i for i in found if i.references or i.repo_digests or i.id not in parents)
    counts = count_images(context.engine)
    shared = flag(request, "shared-size")
    lines = [counts.summary(image, shared=shared) for image in found]
    return context.json([older.listed_image(line, request.version) for line in lines])


async def inspect(context: Context, request: Request, name: str) -> Reply:
    found = wire.inspection(context.engine.images.get(name))
    return context.json(older.image_inspection(found, request.version))


async def history(context: Context, request: Request, name: str) -> Reply:
    image = context.engine.images.get(name)
    return context.json(wire.history(context.engine.images.history(name), image))


async def tag(context: Context, request: Request, name: str) -> Reply:
    repository, new = request.value("repo"), request.value("tag") or "latest"
    await context.quick(context.engine.images.tag, name, repository, new)
    return context.empty(201)


async def remove(context: Context, request: Request, name: str) -> Reply:
    force, prune = flag(request, "force"), not flag(request, "noprune")
    gone = await context.slow(context.engine.images.remove, name, force=force, prune=prune)
    return context.json(wire.removed(gone))


async def prune(context: Context, request: Request, _: str) -> Reply:
    gone, reclaimed = await context.slow(context.engine.images.prune, filters(request))
    context.engine.events.pruned("image", reclaimed)
    answer = {"ImagesDeleted": wire.removed(gone) or None, "SpaceReclaimed": reclaimed}
    return context.json(answer)


ROUTES = (
    Route("GET", "/images/json", list_),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/**/json", inspect),
    Route("GET", "/images/**/history", history),
    Route("POST", "/images/**/tag", tag),
    Route("DELETE", "/images/**", remove),
)
