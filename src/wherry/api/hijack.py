"""Taking a connection over for a container's streams.

Engine API v1.51, operation ContainerAttach, section "Hijacking": with ``Upgrade: tcp`` the answer
is ``101 UPGRADED``, without it 200; after the head the connection is the stream.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

from wherry.api.context import Context
from wherry.api.detach import DetachFilter, parse_keys
from wherry.api.frames import Reframed, Unframer, content_type
from wherry.api.http import websocket
from wherry.api.http.message import Request
from wherry.api.http.relay import Relay
from wherry.api.requests import HEADER


def greeting(context: Context, request: Request, *, tty: bool) -> bytes:
    """The head of the answer."""
    kind = content_type(request.version, tty=tty)
    upgrade = "upgrade" in request.headers
    lines = ["HTTP/1.1 101 UPGRADED" if upgrade else "HTTP/1.1 200 OK", f"Content-Type: {kind}"]
    if upgrade:
        lines += ["Connection: Upgrade", "Upgrade: tcp"]
    headers = {**context.headers, HEADER: request.id}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def relay_stream(
    context: Context,
    request: Request,
    engine: Callable[[], Awaitable[socket.socket]],
    *,
    tty: bool,
    stdin: bool,
    detach_keys: str = "",
    replay: bytes = b"",
    settled: Callable[[], Future[Any]] | None = None,
    wants_frames: bool | None = None,
) -> bool:
    """Answer and relay until one side ends; ``replay`` is sent first. Returns whether the client
    typed the detach keys. ``wants_frames``: by default what the stream has, none with ``tty``."""
    framed = not tty if wants_frames is None else wants_frames
    relay = Relay(
        context.watch,
        accept_input=stdin,
        codec=Reframed(frames=framed) if framed is tty else None,
        inspect=DetachFilter(parse_keys(detach_keys)) if tty and stdin else None,
        settled=settled,
    )
    await relay.run(request.wire, greeting(context, request, tty=not framed), engine, replay)
    return relay.detached


async def relay_websocket(
    context: Context,
    request: Request,
    engine: Callable[[], Awaitable[socket.socket]],
    *,
    tty: bool,
    stdin: bool,
    detach_keys: str = "",
    replay: bytes = b"",
) -> bool:
    """The same over a WebSocket, where output has no frames of Docker's."""
    relay = Relay(
        context.watch,
        accept_input=stdin,
        codec=websocket.WebSocketCodec(None if tty else Unframer()),
        inspect=DetachFilter(parse_keys(detach_keys)) if tty and stdin else None,
        finish_on_input_end=True,
    )
    await relay.run(request.wire, websocket.accept(request), engine, replay)
    return relay.detached
