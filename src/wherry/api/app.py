"""The Engine API as one function from requests to answers."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from types import MappingProxyType

from wherry.api.context import Context, Route
from wherry.api.errors import error_reply, failure
from wherry.api.http.body import ClientGone
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.policy.guard import check_call, guarded
from wherry.api.policy.model import Policy
from wherry.api.requests import HEADER, new_id, request_id
from wherry.api.router import Router
from wherry.api.routes import all_routes
from wherry.api.settings import ApiSettings
from wherry.api.versions import MAXIMUM, MINIMUM, served, spelled
from wherry.engine.api import EngineApi

log = logging.getLogger("wherry.api")

NO_REALMS: Mapping[str, Policy] = MappingProxyType({})
_STREAM = 200
_GONE = 499
"""What a request is counted as whose client went away before its answer."""
_VERSIONED = re.compile(r"/v([0-9]{1,3})\.([0-9]{1,3})(?=/)")
_LITERAL = re.compile(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:.]+\])(:\d+)?")


class App:
    """Call it with a request. :meth:`close` ends its threads."""

    def __init__(
        self, engine: EngineApi, settings: ApiSettings, realms: Mapping[str, Policy]
    ) -> None:
        headers = {
            "Api-Version": spelled(MAXIMUM),
            "Docker-Experimental": "false",
            "Ostype": "linux",
            "Server": f"Wherry/{settings.version} (linux)",
        }
        self.context = Context(engine, settings, headers)
        self._realms = {name: self._realm(policy) for name, policy in realms.items()}
        self._router = Router(all_routes())

    def _realm(self, policy: Policy) -> tuple[Policy, Context]:
        return policy, self.context.restricted(guarded(self.context.engine, policy))

    async def __call__(self, request: Request) -> Answer:
        request.id = new_id(request.headers.get("x-request-id", ""))
        request_id.set(request.id)  # each request has a task of its own
        figures, began = self.context.figures, time.perf_counter()
        figures.begin()
        status, streamed = _GONE, True
        try:
            answer = await self._answer(request)
            streamed = not isinstance(answer, Reply)
            status = answer.status if isinstance(answer, Reply) else _STREAM
        finally:
            seconds = time.perf_counter() - began
            figures.end(request.method, request.operation, status, None if streamed else seconds)
            log.debug("%s %s: %d, %.3f s", request.method, request.path, status, seconds)
        return answer

    async def _answer(self, request: Request) -> Answer:
        try:
            answer = await self._dispatch(request)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - every failure becomes an answer
            answer = self._failed(request, error)
        if not isinstance(answer, Reply):
            return answer
        headers = {**(answer.headers or self.context.headers), HEADER: request.id}
        return Reply(answer.status, answer.body, answer.content_type, headers)

    def _failed(self, request: Request, error: Exception) -> Reply:
        if request.wire.streaming:
            raise error  # the status is out; the connection tells by breaking off
        return error_reply(error)

    async def _dispatch(self, request: Request) -> Answer:
        if request.wire.remote and not is_welcome(request.headers):
            return failure(403, "requests that a web page makes are refused on TCP")
        path = self._set_version(request)
        found = self._router.find(request.method, path)
        if found is None:
            return failure(404, "page not found")
        route, parameter = found
        request.operation = route.operation
        context = self._admitted(request, route) if request.wire.realm else self.context
        return await route.handler(context, request, parameter)

    def _admitted(self, request: Request, route: Route) -> Context:
        """The engine as the client's socket shows it; PermissionDenied."""
        policy, context = self._realms[request.wire.realm]
        check_call(policy, route.method, route.path)
        return context

    def _set_version(self, request: Request) -> str:
        """Take the version off the path; without one it is the newest."""
        match = _VERSIONED.match(request.path)
        if match is None:
            request.version = MAXIMUM
            return request.path
        request.version = served((int(match[1]), int(match[2])))
        return request.path[match.end() :]

    def close(self) -> None:
        self.context.close()


def is_welcome(headers: Mapping[str, str]) -> bool:
    """Whether no web page of others makes the request. WebSocket clients name the engine itself as
    their origin. A host's name proves nothing, since pages can let theirs mean any address."""
    origin, host = headers.get("origin"), headers.get("host", "")
    return origin is None or (
        _LITERAL.fullmatch(host) is not None and origin in (f"http://{host}", f"https://{host}")
    )


def create_app(
    engine: EngineApi, settings: ApiSettings, realms: Mapping[str, Policy] = NO_REALMS
) -> App:
    """The API of ``engine``, to be given to :class:`wherry.api.http.server.HttpServer`.

    ``realms``: the policies of its sockets, by the name with which each is served.
    """
    return App(engine, settings, realms)


__all__ = ["MAXIMUM", "MINIMUM", "App", "create_app"]
