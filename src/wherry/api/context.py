"""What every handler has at hand: the engine, the settings, threads, replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from wherry.api.errors import message_of
from wherry.api.http.body import ClientGone
from wherry.api.http.handoff import Channel
from wherry.api.http.hangup import HangupWatch
from wherry.api.http.message import Answer, Reply, Request, Stream
from wherry.api.operations import operation_of
from wherry.api.requests import HEADER, Figures
from wherry.api.settings import ApiSettings
from wherry.engine.api import EngineApi
from wherry.errors import WherryError


class Closes(Protocol):
    def close(self) -> None: ...


P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Closes)
JSON = "application/json"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_encode = msgspec.json.Encoder().encode


def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
    def call() -> T:
        try:
            return work()
        except StopIteration as error:  # a future cannot hold it, and would never be done
            raise RuntimeError("a generator ended too early") from error

    # with the request's id, for what is logged there
    return asyncio.get_running_loop().run_in_executor(pool, partial(copy_context().run, call))


@dataclass(slots=True)
class Context:
    """``quick`` and ``slow`` are apart so that many waits never keep a start from its thread."""

    engine: EngineApi
    settings: ApiSettings
    headers: dict[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=Figures)
    watch: HangupWatch = field(default_factory=HangupWatch)
    quick_pool: ThreadPoolExecutor = field(init=False)
    slow_pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.quick_pool = ThreadPoolExecutor(self.settings.quick_threads, "api-quick")
        self.slow_pool = ThreadPoolExecutor(self.settings.slow_threads, "api-slow")

    def restricted(self, engine: EngineApi) -> Context:
        """The same for clients who know only ``engine``: threads are shared."""
        other = copy(self)
        other.engine = engine
        return other

    async def quick(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what takes milliseconds, in a thread."""
        return await _in_thread(self.quick_pool, partial(work, *args, **kwargs))

    async def opened(self, work: Callable[P, C], *args: P.args, **kwargs: P.kwargs) -> C:
        """As :meth:`quick`, for what has to be closed: if nobody waits any more, it is."""
        future = _in_thread(self.quick_pool, partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_result)
            raise

    async def slow(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what may take minutes, in a thread."""
        return await _in_thread(self.slow_pool, partial(work, *args, **kwargs))

    def stream(
        self,
        request: Request,
        content_type: str = JSON,
        status: int = 200,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Stream:
        return Stream(
            request,
            status=status,
            content_type=content_type,
            headers={**self.headers, HEADER: request.id, **headers},
        )

    def json(self, value: Any, status: int = 200) -> Reply:
        return Reply(status, _encode(value) + b"\n", JSON, self.headers)

    def empty(self, status: int = 204) -> Reply:
        return Reply(status, headers=self.headers)

    def close(self) -> None:
        self.quick_pool.shutdown(wait=False, cancel_futures=True)
        self.slow_pool.shutdown(wait=False, cancel_futures=True)
        self.watch.close()


Handler = Callable[[Context, Request, str], Awaitable[Answer]]
"""Gets the path's parameter, empty if the route has none."""


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` has at most one parameter, written ``*``, or ``**`` if it may hold slashes.
    ``body`` is what the request's JSON is decoded to; ``operation`` is what the API calls it."""

    method: str
    path: str
    handler: Handler
    body: type[Any] | None = None
    operation: str = field(init=False, default="")

    def __post_init__(self) -> None:
        known = operation_of(self.method, self.path)
        object.__setattr__(self, "operation", known.name if known else "")


def line(value: Any) -> bytes:
    """One object of a stream of JSON lines."""
    return _encode(value) + b"\r\n"


def error_line(error: BaseException) -> dict[str, object]:
    """How a stream that has begun tells an error (Docker's jsonmessage)."""
    message = message_of(error)
    detail: dict[str, object] = {"message": message}
    code = getattr(error, "code", None)
    if isinstance(code, int):
        detail["code"] = code
    return {"errorDetail": detail, "error": message}


async def stream_job(
    context: Context,
    request: Request,
    job: Callable[[Channel[bytes]], object],
    content_type: str = JSON,
    *,
    trailer: Callable[[BaseException], bytes] | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    always_begin: bool = False,
    channel: Channel[bytes] | None = None,
) -> Answer:
    """Run ``job`` in a thread and send what it puts into its channel.

    ``headers`` go out with the first item, so that the job may fill them before it.

    The answer begins with the first item, so that an error before it has a status of its own;
    after it ``trailer`` makes the last item of an error, or without one the answer breaks off.
    ``always_begin``: an error before the first item is told in the stream as well.
    """
    channel = channel or Channel()
    stream: Stream | None = None
    async with running(context, job, channel) as task:
        async for items in channel.batches():
            stream = stream or context.stream(request, content_type, headers=headers)
            await stream.write(b"".join(items))
        error = task.exception()
    if error is None:
        return stream or context.stream(request, content_type, headers=headers)
    if stream is None and always_begin and isinstance(error, WherryError):
        stream = context.stream(request, content_type, headers=headers)
    if stream is None or trailer is None or not isinstance(error, Exception):
        raise error
    if not isinstance(error, WherryError):
        from wherry.api.errors import log

        log.error("unexpected error", exc_info=error)
    await stream.write(trailer(error))
    return stream


class Ending(Protocol):
    """What a job puts its results into, told from the loop how that goes."""

    def end(self) -> None:
        """The job is done."""
        ...

    def abandon(self) -> None:
        """Nobody listens any more."""
        ...


E = TypeVar("E", bound=Ending)


@asynccontextmanager
async def running(
    context: Context, job: Callable[[E], object], channel: E
) -> AsyncIterator[asyncio.Future[object]]:
    """A job in a thread; it is left to itself when this is left by an error."""
    task: asyncio.Future[object] = _in_thread(context.slow_pool, partial(job, channel))
    task.add_done_callback(lambda _: channel.end())
    try:
        yield task
    except BaseException:
        channel.abandon()
        task.add_done_callback(_forget)
        raise


def _close_result(future: asyncio.Future[C]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


def _forget(task: asyncio.Future[object]) -> None:
    """Take an error nobody waits for any more, so that it is not reported as lost."""
    if not task.cancelled():
        task.exception()


def lines_job(
    context: Context,
    request: Request,
    job: Callable[[Callable[[dict[str, object]], None]], object],
    *,
    always_begin: bool = False,
) -> Awaitable[Answer]:
    """:func:`stream_job` for work that reports JSON objects."""

    def run(channel: Channel[bytes]) -> object:
        return job(lambda value: channel.put(line(value)))

    return stream_job(
        context, request, run, trailer=lambda e: line(error_line(e)), always_begin=always_begin
    )


__all__ = ["ClientGone", "Context", "Handler", "Route", "error_line", "line"]
