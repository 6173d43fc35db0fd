"""Containers: from start to removal."""

from __future__ import annotations

import asyncio
from typing import Literal, cast

from wherry.api import older_requests
from wherry.api.context import Context, Route
from wherry.api.errors import message_of
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import flag, number
from wherry.api.routes.absent import no_checkpoint
from wherry.engine.records import WaitResult
from wherry.errors import InvalidArgument, WherryError

Condition = Literal["not-running", "next-exit", "removed"]
_CONDITIONS = ("not-running", "next-exit", "removed")


def parameter(request: Request, name: str) -> str:
    """One that the client's version of the API may not have."""
    return older_requests.parameter(name, request.value(name), request.version)


async def start(context: Context, request: Request, ref: str) -> Reply:
    await context.quick(context.engine.containers.start, ref)
    return context.empty()


async def stop(context: Context, request: Request, ref: str) -> Reply:
    timeout, signal = number(request, "t"), parameter(request, "signal")
    await context.slow(context.engine.containers.stop, ref, timeout=timeout, signal=signal)
    return context.empty()


async def restart(context: Context, request: Request, ref: str) -> Reply:
    timeout, signal = number(request, "t"), parameter(request, "signal")
    await context.slow(context.engine.containers.restart, ref, timeout=timeout, signal=signal)
    return context.empty()


async def kill(context: Context, request: Request, ref: str) -> Reply:
    signal = request.value("signal") or "SIGKILL"
    await context.slow(context.engine.containers.kill, ref, signal=signal)
    return context.empty()


async def pause(context: Context, request: Request, ref: str) -> Reply:
    await context.quick(context.engine.containers.pause, ref)
    return context.empty()


async def unpause(context: Context, request: Request, ref: str) -> Reply:
    await context.quick(context.engine.containers.unpause, ref)
    return context.empty()


async def rename(context: Context, request: Request, ref: str) -> Reply:
    name = request.value("name").removeprefix("/")
    await context.quick(context.engine.containers.rename, ref, name)
    return context.empty()


async def resize(context: Context, request: Request, ref: str) -> Reply:
    rows, columns = terminal_size(request)
    await context.quick(context.engine.containers.resize, ref, rows, columns)
    return context.empty(200)


def terminal_size(request: Request) -> tuple[int, int]:
    """The parameters ``h`` and ``w`` as rows and columns; InvalidArgument."""
    rows, columns = number(request, "h"), number(request, "w")
    if rows is None or columns is None or not (0 <= rows < 65536 and 0 <= columns < 65536):
        raise InvalidArgument("resizing a terminal needs h and w, each from 0 to 65535")
    return rows, columns


async def remove(context: Context, request: Request, ref: str) -> Reply:
    if "/checkpoints/" in ref:
        return await no_checkpoint(context, request, ref.partition("/")[0])
    if flag(request, "link"):
        await context.quick(context.engine.attachments.remove_link, ref)
        return context.empty()
    force, volumes = flag(request, "force"), flag(request, "v")
    await context.slow(context.engine.containers.remove, ref, force=force, volumes=volumes)
    return context.empty()


async def wait(context: Context, request: Request, ref: str) -> Answer:
    """The head goes out at once: ``docker run`` starts the container only after it came."""
    condition = parameter(request, "condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    future = context.engine.containers.wait(ref, cast(Condition, condition))
    stream = context.stream(request)
    await stream.write(context.json(await _outcome(asyncio.wrap_future(future))).body)
    return stream


async def _outcome(future: asyncio.Future[WaitResult]) -> dict[str, object]:
    try:
        result = await future
    except WherryError as error:
        return {"StatusCode": -1, "Error": {"Message": message_of(error)}}
    answer: dict[str, object] = {"StatusCode": result.exit_code}
    if result.error:
        answer["Error"] = {"Message": result.error}
    return answer


ROUTES = (
    Route("POST", "/containers/*/start", start),
    Route("POST", "/containers/*/stop", stop),
    Route("POST", "/containers/*/restart", restart),
    Route("POST", "/containers/*/kill", kill),
    Route("POST", "/containers/*/pause", pause),
    Route("POST", "/containers/*/unpause", unpause),
    Route("POST", "/containers/*/rename", rename),
    Route("POST", "/containers/*/resize", resize),
    Route("POST", "/containers/*/wait", wait),
    Route("DELETE", "/containers/**", remove),  # a link's name is CONTAINER/ALIAS
)
