"""``GET /containers/{id}/logs``."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import msgspec

from wherry.api.context import Context, Route, stream_job
from wherry.api.frames import content_type
from wherry.api.http.handoff import Channel
from wherry.api.http.message import Answer, Request, Stream
from wherry.api.logstream import LogEncoder, LogForm, batches, details_text
from wherry.api.params import flag
from wherry.api.routes.lifecycle import parameter
from wherry.engine.filters import as_time
from wherry.engine.records import Container
from wherry.errors import InvalidArgument, NotFound
from wherry.runtime.logs.reader import Follower, LogReader

_NANO = 1_000_000_000
_PAUSE = 0.01  # seconds between two looks: many small writes are read together
_GRACE = 0.2  # seconds after a start


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Times in nanoseconds, 0 for none; ``tail`` None is everything."""

    form: LogForm
    follow: bool
    since: int
    until: int
    tail: int | None


def _wanted(context: Context, request: Request, container: Container) -> _Wanted:
    streams = frozenset(name for name in ("stdout", "stderr") if flag(request, name))
    if not streams:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    now = time.time_ns()
    form = LogForm(
        tty=container.config.tty,
        streams=streams,
        timestamps=flag(request, "timestamps"),
        details=_details(context, request, container),
    )
    return _Wanted(
        form=form,
        follow=flag(request, "follow"),
        since=_moment(request, "since", now),
        until=_moment(request, "until", now),
        tail=_tail(request.value("tail")),
    )


def _details(context: Context, request: Request, container: Container) -> str | None:
    if not flag(request, "details"):
        return None
    return details_text(context.engine.containers.log_details(container.id))


def _moment(request: Request, name: str, now: int) -> int:
    text = request.value(name) if name == "since" else parameter(request, name)
    return as_time(text, now) if text and text != "0" else 0


def _tail(text: str) -> int | None:
    """Docker reads what is no number, and what is negative, as everything."""
    return int(text) if text.isdigit() else None


async def logs(context: Context, request: Request, ref: str) -> Answer:
    container = context.engine.containers.get(ref)
    wanted = _wanted(context, request, container)
    reader = context.engine.containers.logs(container.id)
    kind = content_type(request.version, tty=container.config.tty)
    encoder = LogEncoder(wanted.form)
    if wanted.follow and container.state.running:
        return await _followed(context, request, container, reader, wanted, encoder)
    if container.state.running:
        await _settle(context, container)
    return await stream_job(
        context, request, lambda channel: _written(reader, wanted, encoder, channel), kind
    )


async def _settle(context: Context, container: Container) -> None:
    """Let one that has just started come to its end, or to its first words: programs ask for the
    log of a short command right after its start, which takes dockerd longer than the command."""
    left = container.state.started_ns / _NANO + _GRACE - time.time()
    if left <= 0:
        return
    with suppress(TimeoutError, NotFound):
        async with asyncio.timeout(min(left, _GRACE)):
            await asyncio.wrap_future(context.engine.containers.wait(container.id))


def _written(
    reader: LogReader, wanted: _Wanted, encoder: LogEncoder, channel: Channel[bytes]
) -> None:
    """In a thread: all that is there."""
    records = reader.read(
        since_ns=wanted.since, until_ns=wanted.until, tail=wanted.tail, joined=wanted.form.joined
    )
    for piece in batches(encoder, records):
        channel.put(piece)


async def _followed(
    context: Context,
    request: Request,
    container: Container,
    reader: LogReader,
    wanted: _Wanted,
    encoder: LogEncoder,
) -> Answer:
    """Until the container ends, or ``until`` is over; what it wrote last is still sent."""
    ended = asyncio.ensure_future(_until_stopped(context, container.id))
    try:
        follower = await context.opened(
            reader.follow,
            since_ns=wanted.since,
            until_ns=wanted.until,
            tail=wanted.tail,
            joined=wanted.form.joined,
        )
    except BaseException:
        ended.cancel()
        raise
    try:
        stream = context.stream(request, content_type(request.version, tty=wanted.form.tty))
        async with asyncio.timeout(_seconds_until(wanted.until)):
            await _follow(context, stream, follower, encoder, ended)
    except TimeoutError:
        pass
    finally:
        ended.cancel()
        follower.close()
    return stream


async def _until_stopped(context: Context, ref: str) -> None:
    """Restarts of the container go by; its removal is an end, too."""
    with suppress(NotFound):
        while context.engine.containers.get(ref).state.running:
            await asyncio.wrap_future(context.engine.containers.wait(ref))


async def _follow(
    context: Context,
    stream: Stream,
    follower: Follower,
    encoder: LogEncoder,
    ended: asyncio.Future[None],
) -> None:
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    changed.set()

    def note_change() -> None:
        follower.forget()  # or the loop would turn until it is read
        changed.set()

    loop.add_reader(follower.fileno(), note_change)
    ended.add_done_callback(lambda _: changed.set())
    try:
        over = False
        next_look = 0.0
        while not over:
            await changed.wait()
            await asyncio.sleep(next_look - loop.time())
            next_look = loop.time() + _PAUSE
            changed.clear()
            over = ended.done()  # asked before reading: what was written before is read below
            full = True
            while full and (records := await context.quick(follower.read_available)):
                await stream.write(b"".join(map(encoder.encode, records)))
                full = follower.full
            over = over or follower.done
    finally:
        loop.remove_reader(follower.fileno())


def _seconds_until(moment: int) -> float | None:
    return None if not moment else (moment - time.time_ns()) / _NANO


ROUTES = (Route("GET", "/containers/*/logs", logs),)
