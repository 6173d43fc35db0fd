"""Containers: create, list, inspect, and what can be asked of one."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from wherry.api import older_requests
from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.params import filters, flag, json_body, number, shaped
from wherry.api.settings import ApiSettings
from wherry.api.wire import containers as wire
from wherry.api.wire import older
from wherry.model.container import ContainerChanges, ContainerConfig, HostConfig, NetworkingConfig

HOST_CA_ANNOTATION = "org.wherry.host-ca"
HOST_CA_HEADER = "x-wherry-host-ca"
_DOCKER_PY = re.compile(r"\bdocker-(?:sdk-python|py)/")


class _HostParts(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()
    runtime: str | None = None
    """Not in the definition: where docker-py's ``create_container()`` puts the runtime."""

    @property
    def host(self) -> HostConfig:
        runtime = self.host_config.runtime or self.runtime
        return msgspec.structs.replace(self.host_config, runtime=runtime)


class _Created(ContainerConfig, frozen=True, kw_only=True):
    """The whole body of a creation, as it is described; it is decoded in two parts."""

    host_config: HostConfig = HostConfig()
    networking_config: NetworkingConfig = NetworkingConfig()


async def create(context: Context, request: Request, _: str) -> Reply:
    body = _listed(await json_body(request, context.settings), "Cmd", "Entrypoint", "Shell")
    config = shaped(body, ContainerConfig)
    parts = shaped(body, _HostParts)
    version = request.version
    asked = older_requests.host(parts.host, version)
    host = _with_log_driver(asked, request, context.settings)
    created = await context.quick(
        context.engine.containers.create,
        request.value("name").removeprefix("/"),
        older_requests.configuration(config, version),
        host,
        older_requests.networks(parts.networking_config, version),
        platform=older_requests.parameter("platform", request.value("platform"), version),
        host_ca=host_ca(request, parts.host_config.annotations),
    )
    return context.json({"Id": created.id, "Warnings": created.warnings}, 201)


def _with_log_driver(host: HostConfig, request: Request, settings: ApiSettings) -> HostConfig:
    """docker-py's ``run()`` returns output only if the log is json-file or journald: its
    containers get json-file, unless somebody chose (docs/decisions/0004-log-driver.md)."""
    agent = request.headers.get("user-agent", "")
    if host.log_config.type or settings.log_driver or not _DOCKER_PY.search(agent):
        return host
    log = msgspec.structs.replace(host.log_config, type="json-file")
    return msgspec.structs.replace(host, log_config=log)


def _listed(body: Any, *names: str) -> Any:
    """A command may be one string instead of a list (Go's strslice)."""
    if not isinstance(body, dict):
        return body
    return {k: [v] if k in names and isinstance(v, str) else v for k, v in body.items()}


def host_ca(request: Request, annotations: dict[str, str] | None = None) -> bool | None:
    """Whether the host's certificate authorities are asked for: by header, query or annotation;
    None if nothing is said."""
    if HOST_CA_HEADER in request.headers:
        return request.headers[HOST_CA_HEADER].strip().lower() in ("1", "true")
    if "hostca" in request.query:
        return flag(request, "hostca")
    if annotations and HOST_CA_ANNOTATION in annotations:
        return annotations[HOST_CA_ANNOTATION].lower() in ("1", "true")
    return None


async def list_(context: Context, request: Request, _: str) -> Reply:
    wanted = filters(request)
    limit = number(request, "limit", 0) or 0
    every = flag(request, "all") or limit > 0 or bool({"status", "exited"} & set(wanted))
    found = context.engine.containers.list(
        running_only=not every, limit=max(limit, 0), filters=wanted
    )
    if not flag(request, "size"):
        return context.json([wire.summary(container) for container in found])
    sizes = [await context.quick(context.engine.containers.size, c.id) for c in found]
    return context.json([wire.summary(c, s) for c, s in zip(found, sizes, strict=True)])


async def inspect(context: Context, request: Request, ref: str) -> Reply:
    container = context.engine.containers.get(ref)
    size = None
    if flag(request, "size"):
        size = await context.quick(context.engine.containers.size, container.id)
    found = wire.inspection(container, size)
    return context.json(older.container(found, request.version))


async def top(context: Context, request: Request, ref: str) -> Reply:
    arguments = request.value("ps_args") or "-ef"
    titles, rows = await context.quick(context.engine.containers.top, ref, arguments)
    return context.json({"Titles": titles, "Processes": rows})


async def changes(context: Context, request: Request, ref: str) -> Reply:
    found = await context.slow(context.engine.containers.changes, ref)
    return context.json([{"Path": path, "Kind": kind} for kind, path in found] or None)


async def update(context: Context, request: Request, ref: str) -> Reply:
    """The body is Resources and RestartPolicy, members of HostConfig, and what is Wherry's own."""
    body = await json_body(request, context.settings)
    wanted, changes = shaped(body, HostConfig), shaped(body, ContainerChanges)
    wanted = older_requests.update(wanted, request.version)
    run = context.slow if changes != ContainerChanges() else context.quick
    warnings = await run(context.engine.containers.update, ref, wanted, changes)
    return context.json({"Warnings": warnings or None})


async def prune(context: Context, request: Request, _: str) -> Reply:
    report = await context.slow(context.engine.containers.prune, filters(request))
    context.engine.events.pruned("container", report.reclaimed)
    answer = {
        "ContainersDeleted": report.removed or None,
        "SpaceReclaimed": report.reclaimed,
    }
    return context.json(answer)


ROUTES = (
    Route("POST", "/containers/create", create, _Created),
    Route("GET", "/containers/json", list_),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/*/json", inspect),
    Route("GET", "/containers/*/top", top),
    Route("GET", "/containers/*/changes", changes),
    Route("POST", "/containers/*/update", update, HostConfig),
)
