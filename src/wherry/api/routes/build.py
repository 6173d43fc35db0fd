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
                asked, stream, _reporter(tell, asked.quiet), channel.abandoned
            )
        if asked.quiet:
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


def build_request(context: Context, request: Request) -> BuildRequest:
    """The parameters, typed; InvalidArgument names one that cannot be read."""
    wants_ca = host_ca(request)
    return BuildRequest(
        dockerfile=request.value("dockerfile") or "Dockerfile",
        tags=tuple(tag for tag in request.query.get("t", []) if tag),
        remote=request.value("remote"),
        quiet=flag(request, "q"),
        no_cache=flag(request, "nocache"),
        cache_from=tuple(json_parameter(request, "cachefrom", list[str], [])),
        pull=flag(request, "pull"),
        remove=flag(request, "rm", True),
        force_remove=flag(request, "forcerm"),
        squash=flag(request, "squash"),
        build_args=json_parameter(request, "buildargs", dict[str, str | None], {}),
        labels=json_parameter(request, "labels", dict[str, str], {}),
        ulimits=tuple(json_parameter(request, "ulimits", list[Ulimit], [])),
        network_mode=request.value("networkmode"),
        extra_hosts=_extra_hosts(request),
        security_opt=tuple(json_parameter(request, "securityopt", list[str], [])),
        platform=request.value("platform"),
        target=request.value("target"),
        outputs=request.value("outputs"),
        version=_version(request),
        isolation=request.value("isolation"),
        registry_config=registry_config(request),
        host_ca=context.settings.host_ca if wants_ca is None else wants_ca,
        proxy_env=context.settings.proxy_env,
        memory=_size(request, "memory"),
        memory_swap=_size(request, "memswap"),
        cpu_shares=_size(request, "cpushares"),
        cpu_period=_size(request, "cpuperiod"),
        cpu_quota=_size(request, "cpuquota"),
        shm_size=_size(request, "shmsize"),
        cpuset_cpus=request.value("cpusetcpus"),
        cpuset_mems=request.value("cpusetmems"),
        cgroup_parent=request.value("cgroupparent"),
    )


def _size(request: Request, name: str) -> int:
    return number(request, name, 0) or 0


def _extra_hosts(request: Request) -> tuple[str, ...]:
    """One JSON list, or as others send it, one text with commas, or a parameter for each."""
    if request.value("extrahosts").startswith("["):
        return tuple(json_parameter(request, "extrahosts", list[str], []))
    texts = request.query.get("extrahosts", [])
    return tuple(host for text in texts for host in text.split(",") if host)


def _version(request: Request) -> str:
    version = request.value("version") or "1"
    if version != "1":
        raise InvalidArgument(
            "this engine builds with the classic protocol: set DOCKER_BUILDKIT=0"
            f" (asked was builder version {version[:20]})"
        )
    return version


async def prune(context: Context, request: Request, _: str) -> Reply:
    keep = number(request, "reserved-space") or number(request, "keep-storage") or 0
    report = await context.slow(
        context.engine.builds.prune,
        every=flag(request, "all"),
        keep=max(keep, 0),
        filters=filters(request),
    )
    answer = {"CachesDeleted": report.removed or None, "SpaceReclaimed": report.reclaimed}
    return context.json(answer)


ROUTES = (
    Route("POST", "/build", build),
    Route("POST", "/build/prune", prune),
)
