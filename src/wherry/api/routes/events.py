"""``GET /events``: what happened, and what happens, as JSON lines."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from wherry.api.context import Context, Route, line
from wherry.api.event_filter import event_matcher
from wherry.api.http.message import Answer, Request, Stream
from wherry.api.params import filters
from wherry.api.wire.networks import event as event_json
from wherry.engine.filters import as_time
from wherry.engine.records import Event
from wherry.errors import InvalidArgument, ResourceExhausted

_PENDING = 10_000  # events a client may be behind
_NANO = 1_000_000_000


class _Feed:
    """Events from the engine's threads, kept for one client."""

    def __init__(self, matches: Callable[[Event], bool]) -> None:
        self._matches = matches
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque()
        self._ready = asyncio.Event()
        self._overflow = False

    def take(self, event: Event) -> None:
        """From any thread."""
        if self._matches(event) and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._add, event)

    def _add(self, event: Event) -> None:
        if len(self._events) >= _PENDING:
            self._overflow = True
        else:
            self._events.append(event)
        self._ready.set()

    async def next_batch(self) -> list[Event]:
        await self._ready.wait()
        self._ready.clear()
        if self._overflow:
            raise ResourceExhausted(f"the client is {_PENDING} events behind")
        batch = list(self._events)
        self._events.clear()
        return batch


async def events(context: Context, request: Request, _: str) -> Answer:
    now = time.time_ns()
    since, until = (_time(request, name, now) for name in ("since", "until"))
    if since is not None and until is not None and since > until:
        raise InvalidArgument(
            f"`since` time ({request.value('since')}) cannot be after `until` time "
            f"({request.value('until')})"
        )
    matches = event_matcher(filters(request))
    feed = _Feed(matches)
    end = context.engine.events.subscribe(feed.take)
    try:
        stream = context.stream(request)
        last = 0
        if since is not None or until is not None:
            past = context.engine.events.past(since or 0, min(until or now, now))
            last = past[-1].time_ns if past else 0
            await _send(stream, [event for event in past if matches(event)])
        if until is None or until > now:
            await _follow(stream, feed, last, until)
        return stream
    finally:
        end()


def _time(request: Request, name: str, now: int) -> int | None:
    text = request.value(name)
    return as_time(text, now) if text and text != "0" else None


async def _follow(stream: Stream, feed: _Feed, last: int, until: int | None) -> None:
    """``last``: the time of the newest event that was sent already."""
    seconds = None if until is None else (until - time.time_ns()) / _NANO
    try:
        async with asyncio.timeout(seconds):
            while True:
                batch = await feed.next_batch()
                await _send(stream, [event for event in batch if event.time_ns > last])
    except TimeoutError:
        return


async def _send(stream: Stream, batch: list[Event]) -> None:
    await stream.write(b"".join(line(event_json(event)) for event in batch))


ROUTES = (Route("GET", "/events", events),)
