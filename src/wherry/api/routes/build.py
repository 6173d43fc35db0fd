"""``POST /build``: a tar stream in, JSON lines out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wherry.api.context import Context, Route, error_line, line, stream_job
from wherry.api.http.handoff import BodyReader, Channel, buffered
from wherry.api.http.message import Answer, Reply, Request
from wherry.api.params import filters, flag, json_parameter, number, registry_config
from wherry.api.routes.containers import host_ca
from wherry.build.api import (
    BuildDone,
    BuildRequest,
    BuildResult,
    Event,
    PullStatus,
)
from wherry.build.progress import classic_text
from wherry.errors import InvalidArgument
from wherry.model.container import Ulimit

Tell = Callable[[dict[str, object]], None]


async def build(context: Context, request: Request, _: str) -> Answer:
    asked = build_request(context, request)
    reader = BodyReader()

    def job(channel: Channel[bytes]) -> object:
        def tell(value: dict[str, object]) -> None:
            channel.put(line(value))

        with buffered(reader) as stream:
            result = context.engine.builds.build(
                asked, stream, _reporter(tell, asked.quiet), lambda: channel.abandoned
            )
        if asked.quiet and isinstance(result, BuildResult):
            tell({"stream": f"{result.image}\n"})
        return result

    pump = asyncio.ensure_future(reader.pump(request.body))
    try:
        return await stream_job(context, request, job, trailer=lambda e: line(error_line(e)))
    finally:
        pump.cancel()


def _reporter(tell: Tell, quiet: bool) -> Callable[[Event], None]:
    """Events to Docker's lines. The id of the image is told apart too, for programs."""

    def report(event: Event) -> None:
        if isinstance(event, BuildDone):
            tell({"aux": {"ID": event.image}})
        if quiet:
            return
        if isinstance(event, PullStatus):
            tell(_pull_line(event))
        elif text := classic_text(event):
            tell({"stream": text})

    return report


def _pull_line(event: PullStatus) -> dict[str, object]:
    members: dict[str, object] = {"status": event.status}
    if event.total:
        members["progressDetail"] = {"current": event.current, "total": event.total}
    if event.id:
        members["id"] = event.id
    return members


class _Ulimit(Ulimit, frozen=True, kw_only=True):
    """The command line sends Go's field names, which are the same."""


def build_request(context: Context, request: Request) -> BuildRequest:
    """The parameters, typed; InvalidArgument names one that cannot be read."""
    wants_ca = host_ca(request)
    return BuildRequest(
        dockerfile=request.value("dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in request.query.get("t", []) if tag),
        remote=request.value("remote"),
        quiet=flag(request, "q"),
        no_cache=flag(request, "nocache"),
        cache_from=tuple(json_parameter(request, "cachefrom", list[str] | None, None) or ()),
        pull=flag(request, "pull"),
        remove=flag(request, "rm", True),
        force_remove=flag(request, "forcerm"),
        squash=flag(request, "squash"),
        build_args=json_parameter(request, "buildargs", dict[str, str | None] | None, None) or {},
        labels=json_parameter(request, "labels", dict[str, str] | None, None) or {},
        ulimits=tuple(json_parameter(request, "ulimits", list[_Ulimit] | None, None) or ()),
        network_mode=request.value("networkmode"),
        extra_hosts=_extra_hosts(request),
        security_opt=tuple(json_parameter(request, "securityopt", list[str] | None, None) or ()),
        platform=request.value("platform"),
        target=request.value("target"),
        outputs=request.value("outputs"),
        version=_version(request),
        isolation=request.value("isolation"),
        registry_config=registry_config(request),
        host_ca=context.settings.host_ca if wants_ca is None else wants_ca,
        proxy_env=context.settings.proxy_env,
        **_limits(request),
    )


def _limits(request: Request) -> dict[str, int | str]:
    numbers = {
        "memory": "memory",
        "memswap": "memory_swap",
        "cpushares": "cpu_shares",
        "cpuperiod": "cpu_period",
        "cpuquota": "cpu_quota",
        "shmsize": "shm_size",
    }
    texts = {
        "cpusetcpus": "cpuset_cpus",
        "cpusetmems": "cpuset_mems",
        "cgroupparent": "cgroup_parent",
    }
    limits: dict[str, int | str] = {
        name: number(request, parameter, 0) or 0 for parameter, name in numbers.items()
    }
    return limits | {name: request.value(parameter) for parameter, name in texts.items()}


def _extra_hosts(request: Request) -> tuple[str, ...]:
    """One JSON list, or as old clients send it, one text with commas."""
    text = request.value("extrahosts")
    if text.startswith("["):
        return tuple(json_parameter(request, "extrahosts", list[str], []))
    return tuple(host for host in text.split(",") if host)


def _version(request: Request) -> str:
    version = request.value("version") or "1"
    if version != "1":
        raise InvalidArgument(
            "this engine builds with the classic protocol: set DOCKER_BUILDKIT=0"
            f" (asked was builder version {version[:20]})"
        )
    return version


async def prune(context: Context, request: Request, _: str) -> Reply:
    """The cache is made of images here; what no image needs goes with ``POST /images/prune``."""
    filters(request)
    return context.json({"CachesDeleted": None, "SpaceReclaimed": 0})


ROUTES = (
    Route("POST", "/build", build),
    Route("POST", "/build/prune", prune),
)
