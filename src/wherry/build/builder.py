"""Dockerfile builds: the entry point."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from wherry.build.api import (
    BuildCancelled,
    BuildDone,
    BuildRequest,
    BuildResult,
    BuildTagged,
    BuildWarning,
    Cancel,
    ContextStream,
    Event,
    ImageResolver,
    Progress,
    StepRunner,
)
from wherry.build.cache import BuildCache, Known
from wherry.build.context import Context, open_context
from wherry.build.job import Job, Tools
from wherry.build.mounts import remove_caches
from wherry.build.parser import Dockerfile, parse_dockerfile
from wherry.build.platforms import host_platform, parse_platform
from wherry.build.refusals import check_request
from wherry.build.scope import EPOCH_ARG, BuildArgs, platform_args, unused
from wherry.build.solver import SNAPSHOT_PREFIX, Solver
from wherry.build.stages import plan_build
from wherry.build.state import State, parse_epoch
from wherry.errors import Conflict, InternalError, InvalidArgument, NotFound, ResourceExhausted
from wherry.fs.remove import remove_tree
from wherry.model.image import Platform
from wherry.model.reference import Reference
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Image, Images
from wherry.store.database import Database
from wherry.sys.faults import reach

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_KNOWN_FRONTENDS = ("docker/dockerfile", "docker.io/docker/dockerfile")


class Pruned(msgspec.Struct, frozen=True):
    """How many cached steps were forgotten, and how many cache mounts were removed."""

    steps: int
    mounts: int


class Builder:
    """Builds images. Safe to call from several threads, each build in one of its own."""

    def __init__(
        self,
        images: Images,
        snapshots: Snapshotter,
        db: Database,
        runner: StepRunner,
        resolver: ImageResolver,
        *,
        directory: str,
    ) -> None:
        """``directory`` is the builder's own, on the disk that can hold a context. What a crash
        left of earlier builds is removed from it and from the snapshots."""
        self._work = f"{directory}/work"
        self._tools = Tools(
            images=images,
            snapshots=snapshots,
            cache=BuildCache(db, snapshots),
            runner=runner,
            resolver=resolver,
            caches=f"{directory}/mounts",
        )
        remove_tree(self._work)
        os.makedirs(self._work, 0o700)
        self._remove_snapshots()

    def _remove_snapshots(self) -> None:
        snapshots = self._tools.snapshots
        stale = [
            info.key
            for info in snapshots.list()
            if info.kind == "active" and info.key.startswith(SNAPSHOT_PREFIX)
        ]
        for key in stale:
            with suppress(NotFound, Conflict):
                snapshots.remove(key)

    def build(
        self, request: BuildRequest, context: ContextStream, progress: Progress, cancel: Cancel
    ) -> BuildResult:
        """Build an image and give it its names.

        What is wrong with the request or the Dockerfile's syntax is raised before the first event:
        NotSupported or InvalidArgument. Later: StepFailed for a RUN, CopyFailed, BuildCancelled,
        the resolver's errors. Steps that were done stay in the cache; nothing else does.
        """

        def check() -> None:
            if cancel.is_set():
                raise BuildCancelled("the build was cancelled")

        references = check_request(request)
        try:
            with (
                self._tools.images.lease(),
                open_context(request, context, self._work, check) as opened,
            ):
                reach("build.begun")
                return self._build(request, opened, references, progress, cancel)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise ResourceExhausted("the build failed: no space left on device") from error
            raise InternalError(f"the build failed: {error}") from error

    def _build(
        self,
        request: BuildRequest,
        context: Context,
        references: tuple[Reference, ...],
        progress: Progress,
        cancel: Cancel,
    ) -> BuildResult:
        dockerfile = parse_dockerfile(context.dockerfile, context.name)
        job = _job(request, context, dockerfile, progress, cancel)
        warnings = _warnings(dockerfile)
        for text in warnings:
            progress(BuildWarning(text))
        solver = Solver(self._tools, job)
        state = solver.solve()
        names = unused(job.build_args, solver.declared)
        if names:
            text = f"[Warning] One or more build-args [{' '.join(names)}] were not consumed"
            warnings = (*warnings, text)
            progress(BuildWarning(text))
        return self._finish(state, references, warnings, progress)

    def _finish(
        self,
        state: State,
        references: tuple[Reference, ...],
        warnings: tuple[str, ...],
        progress: Progress,
    ) -> BuildResult:
        image = self._named(state, references)
        reach("build.ended")
        events: list[Event] = [BuildDone(image.id)]
        events += [BuildTagged(reference.familiar) for reference in references]
        for event in events:
            progress(event)
        return BuildResult(
            image=image.id,
            tags=tuple(reference.familiar for reference in references),
            warnings=warnings,
        )

    def _named(self, state: State, references: tuple[Reference, ...]) -> Image:
        """Record the image; one to which nothing was done only gets more names."""
        images = self._tools.images
        if state.is_empty:
            raise InvalidArgument("No image was generated. Is your Dockerfile empty?")
        if not state.base:
            return images.add(state.config_json, state.layers, references=references)
        for reference in references:
            images.tag(state.base, reference)
        return images.get(state.base)

    def cached(self) -> tuple[Known, ...]:
        """The steps in the cache, those used last first."""
        return self._tools.cache.list()

    def prune(self, keys: Iterable[bytes] | None = None) -> Pruned:
        """Forget cached steps (all, unless ``keys`` names them) and remove cache mounts that no
        build uses.

        The layers of forgotten steps go with the next ``Images.collect_garbage``.
        """
        if keys is not None:
            chosen = tuple(keys)
            self._tools.cache.forget(chosen)
            return Pruned(steps=len(chosen), mounts=remove_caches(self._tools.caches))
        return Pruned(steps=self._tools.cache.clear(), mounts=remove_caches(self._tools.caches))


def _job(
    request: BuildRequest,
    context: Context,
    dockerfile: Dockerfile,
    progress: Progress,
    cancel: Cancel,
) -> Job:
    platform = parse_platform(request.platform) if request.platform else host_platform()
    build_args = _build_args(request, platform)
    return Job(
        request=request,
        context=context,
        plan=plan_build(dockerfile, build_args, request.target),
        escape=dockerfile.escape,
        build_args=build_args,
        platform=platform,
        epoch=parse_epoch(build_args.given.get(EPOCH_ARG)),
        progress=progress,
        cancel=cancel,
    )


def _build_args(request: BuildRequest, platform: Platform) -> BuildArgs:
    given = {name: value for name, value in request.build_args.items() if value is not None}
    automatic = platform_args(platform, host_platform(), request.target)
    return BuildArgs(given=given, automatic=automatic, proxies=request.proxy_env)


def _warnings(dockerfile: Dockerfile) -> tuple[str, ...]:
    frontend = dockerfile.directives.get("syntax", "")
    if not frontend or frontend.partition(":")[0] in _KNOWN_FRONTENDS:
        return dockerfile.warnings
    note = f"[Warning] the syntax directive ({frontend}) is ignored: Wherry parses all Dockerfiles"
    return (*dockerfile.warnings, f"{note} itself")
