"""Attaching to a container's streams, by hijacking or over a WebSocket."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec

from wherry.api.context import Context, Route
from wherry.api.detach import parse_keys
from wherry.api.hijack import relay_stream, relay_websocket
from wherry.api.http.message import Answer, Request
from wherry.api.http.websocket import wants_websocket
from wherry.api.logstream import replay_log
from wherry.api.params import flag
from wherry.engine.records import Container
from wherry.errors import InvalidArgument, NotFound


class _Asked(msgspec.Struct, frozen=True):
    """``stdin`` is what the client wants and the container has."""

    container: Container
    stdin: bool
    stdout: bool
    stderr: bool
    logs: bool
    stream: bool
    detach_keys: str


def _asked(context: Context, request: Request, ref: str) -> _Asked:
    container = context.engine.containers.get(ref)
    keys = request.value("detachKeys")
    parse_keys(keys)
    return _Asked(
        container=container,
        stdin=flag(request, "stdin") and container.config.open_stdin,
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr"),
        logs=flag(request, "logs"),
        stream=flag(request, "stream"),
        detach_keys=keys,
    )


async def _live(context: Context, asked: _Asked) -> socket.socket:
    """The container's stream; one that is at its end if only the log is wanted."""
    if not asked.stream:
        ours, theirs = socket.socketpair()
        ours.close()
        return theirs
    return await context.quick(
        context.engine.containers.attach,
        asked.container.id,
        stdin=asked.stdin,
        stdout=asked.stdout,
        stderr=asked.stderr,
    )


async def _ready(stream: socket.socket) -> socket.socket:
    return stream


async def _replay(context: Context, asked: _Asked, live: socket.socket) -> bytes:
    """The log up to now, if it is asked for: the stream has what comes later."""
    if not asked.logs:
        return b""
    wanted = frozenset(name for name in ("stdout", "stderr") if getattr(asked, name))
    try:
        return await context.slow(
            replay_log, context.engine, asked.container, wanted, time.time_ns()
        )
    except BaseException:
        live.close()
        raise


async def attach(context: Context, request: Request, ref: str) -> Answer:
    return await _attach(context, request, ref, relay_stream)


async def attach_websocket(context: Context, request: Request, ref: str) -> Answer:
    if not wants_websocket(request):
        raise InvalidArgument("this endpoint speaks WebSocket: the Upgrade header is missing")
    return await _attach(context, request, ref, relay_websocket)


async def _attach(
    context: Context, request: Request, ref: str, relay: Callable[..., Awaitable[bool]]
) -> Answer:
    asked = _asked(context, request, ref)
    live = await _live(context, asked)
    replay = await _replay(context, asked, live)
    detached = await relay(
        context,
        request,
        partial(_ready, live),
        tty=asked.container.config.tty,
        stdin=asked.stdin,
        detach_keys=asked.detach_keys,
        replay=replay,
    )
    _tell_detached(context, asked, detached)
    return None


def _tell_detached(context: Context, asked: _Asked, detached: bool) -> None:
    if detached:
        with suppress(NotFound):  # removed meanwhile
            context.engine.containers.detached(asked.container.id)


ROUTES = (
    Route("POST", "/containers/*/attach", attach),
    Route("GET", "/containers/*/attach/ws", attach_websocket),
)
