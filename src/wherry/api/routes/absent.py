"""What this engine does not do: each endpoint of the definition that has no other place."""

from __future__ import annotations

from wherry.api.context import Context, Handler, Route
from wherry.api.http.message import Reply, Request
from wherry.errors import NotFound, NotSupported, Unavailable

_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect'
    " this node to swarm and try again."
)

_NOT_YET = (
    ("POST", "/session"),
    ("POST", "/grpc"),
)

_SWARM = (
    ("GET", "/nodes"),
    ("GET", "/nodes/*"),
    ("DELETE", "/nodes/*"),
    ("POST", "/nodes/*/update"),
    ("GET", "/swarm"),
    ("POST", "/swarm/update"),
    ("GET", "/swarm/unlockkey"),
    ("GET", "/services"),
    ("POST", "/services/create"),
    ("GET", "/services/*"),
    ("DELETE", "/services/*"),
    ("POST", "/services/*/update"),
    ("GET", "/services/*/logs"),
    ("GET", "/tasks"),
    ("GET", "/tasks/*"),
    ("GET", "/tasks/*/logs"),
    ("GET", "/secrets"),
    ("POST", "/secrets/create"),
    ("GET", "/secrets/*"),
    ("DELETE", "/secrets/*"),
    ("POST", "/secrets/*/update"),
    ("GET", "/configs"),
    ("POST", "/configs/create"),
    ("GET", "/configs/*"),
    ("DELETE", "/configs/*"),
    ("POST", "/configs/*/update"),
    ("PUT", "/volumes/*"),
)

_NEVER = (
    ("POST", "/swarm/init"),
    ("POST", "/swarm/join"),
    ("GET", "/plugins/privileges"),
    ("POST", "/plugins/pull"),
    ("POST", "/plugins/create"),
)

_ONE_PLUGIN = (
    ("GET", "/plugins/**/json"),
    ("DELETE", "/plugins/**"),
    ("POST", "/plugins/**/enable"),
    ("POST", "/plugins/**/disable"),
    ("POST", "/plugins/**/upgrade"),
    ("POST", "/plugins/**/push"),
    ("POST", "/plugins/**/set"),
)


def _refusing(method: str, path: str) -> Handler:
    shown = path.replace("**", "{name}").replace("*", "{id}")

    async def refuse(context: Context, request: Request, _: str) -> Reply:
        raise NotSupported(f"this engine does not serve {method} {shown}")

    return refuse


async def no_swarm(context: Context, request: Request, _: str) -> Reply:
    raise Unavailable(_NO_SWARM)


async def no_node(context: Context, request: Request, _: str) -> Reply:
    raise Unavailable("This node is not part of a swarm")


async def no_search(context: Context, request: Request, _: str) -> Reply:
    raise NotSupported(
        "searching is not supported: it is no part of the registries' common API, look on the"
        " registry's own page"
    )


async def no_checkpoint(context: Context, request: Request, ref: str) -> Reply:
    context.engine.containers.get(ref)
    raise NotSupported("checkpoints are not supported: this engine does not freeze to files")


async def no_plugin(context: Context, request: Request, name: str) -> Reply:
    raise NotFound(f'plugin "{name}" not found: this engine has no plugins')


async def plugins(context: Context, request: Request, _: str) -> Reply:
    return context.json([])


ROUTES = (
    Route("GET", "/plugins", plugins),
    Route("GET", "/images/search", no_search),
    Route("POST", "/swarm/leave", no_node),
    Route("POST", "/swarm/unlock", no_node),
    Route("GET", "/containers/*/checkpoints", no_checkpoint),
    Route("POST", "/containers/*/checkpoints", no_checkpoint),
    *(Route(method, path, _refusing(method, path)) for method, path in (*_NOT_YET, *_NEVER)),
    *(Route(method, path, no_swarm) for method, path in _SWARM),
    *(Route(method, path, no_plugin) for method, path in _ONE_PLUGIN),
)
