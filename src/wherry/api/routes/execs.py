"""Processes started in running containers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from functools import partial

import msgspec

from wherry.api import older_requests
from wherry.api.context import Context, Route
from wherry.api.detach import parse_keys
from wherry.api.frames import frame
from wherry.api.hijack import relay_stream
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import json_body, shaped
from wherry.api.routes.lifecycle import terminal_size
from wherry.api.wire import containers as wire
from wherry.engine.records import Exec, ExecOptions
from wherry.errors import Conflict, NotFound, WherryError

Size = tuple[int, int] | None
"""Rows and columns of a terminal."""


class _ExecConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Engine API v1.51, ExecConfig."""

    cmd: tuple[str, ...] | str = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    privileged: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] | None = None


class _ExecStart(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None


async def create(context: Context, request: Request, ref: str) -> Reply:
    asked = shaped(await json_body(request, context.settings), _ExecConfig)
    parse_keys(asked.detach_keys)
    members = msgspec.structs.asdict(asked)
    members["cmd"] = (asked.cmd,) if isinstance(asked.cmd, str) else asked.cmd
    options = older_requests.execution(ExecOptions(**members), request.version)
    exec_id = context.engine.execs.create(ref, options)  # nothing waits there
    asyncio.get_running_loop().call_soon(_expect, context, exec_id)  # when the answer is out
    return context.json({"Id": exec_id}, 201)


def _expect(context: Context, exec_id: str) -> None:
    with suppress(NotFound):  # removed meanwhile
        context.engine.execs.expect(exec_id)


async def start(context: Context, request: Request, exec_id: str) -> Answer:
    asked = shaped(await json_body(request, context.settings, optional=True), _ExecStart)
    record = context.engine.execs.get(exec_id)
    size = asked.console_size or record.options.console_size
    _check_startable(context, record)
    if asked.detach:
        await context.quick(context.engine.execs.start, exec_id, detach=True, console_size=size)
        return context.empty(200)
    # Asked for before the head is out, but clients read that first: what the process writes waits.
    begun = _begin(context, record, size)
    detached = await relay_stream(
        context,
        request,
        partial(_stream, context, record, size, begun),
        tty=record.options.tty,
        stdin=record.options.attach_stdin,
        detach_keys=record.options.detach_keys,
        settled=partial(context.engine.execs.exited, exec_id),
        wants_frames=not asked.tty,
    )
    if detached:
        with suppress(NotFound):  # removed meanwhile
            context.engine.execs.detached(exec_id)
    return None


def _check_startable(context: Context, record: Exec) -> None:
    """What can be said with a status, before the stream begins."""
    if record.running or record.exit_code is not None:
        raise Conflict(f"Error: Exec command {record.id} has already run")
    container = context.engine.containers.get(record.container_id)
    if not container.state.running:
        raise Conflict(f"Container {container.id} is not running")


def _begin(context: Context, record: Exec, size: Size) -> socket.socket | None:
    """The stream of an exec that need not be waited for, or one that says why it cannot start."""
    say = partial(_saying, record.options.tty)
    try:
        return context.engine.execs.begin(record.id, console_size=size, say=say)
    except WherryError as error:
        return _ended_stream(say(error))


async def _stream(
    context: Context, record: Exec, size: Size, begun: socket.socket | None
) -> socket.socket:
    """What has begun, or the stream of an exec that takes time to start."""
    if begun is not None:
        return begun
    start = partial(context.engine.execs.start, record.id, detach=False, console_size=size)
    try:
        stream = await context.quick(start)
    except WherryError as error:
        return _ended_stream(_saying(record.options.tty, error))
    return stream if stream is not None else _ended_stream(b"")


def _saying(tty: bool, error: WherryError) -> bytes:
    """Docker tells a command that cannot be run as output, and by the exit code."""
    text = f"{error}\r\n".encode()
    return text if tty else frame("stdout", text)


def _ended_stream(text: bytes) -> socket.socket:
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(text)
    return theirs


async def inspect(context: Context, request: Request, exec_id: str) -> Reply:
    return context.json(wire.execution(context.engine.execs.get(exec_id)))


async def resize(context: Context, request: Request, exec_id: str) -> Reply:
    rows, columns = terminal_size(request)
    await context.quick(context.engine.execs.resize, exec_id, rows, columns)
    return context.empty(200)


ROUTES = (
    Route("POST", "/containers/*/exec", create, _ExecConfig),
    Route("POST", "/exec/*/start", start, _ExecStart),
    Route("POST", "/exec/*/resize", resize),
    Route("GET", "/exec/*/json", inspect),
)
