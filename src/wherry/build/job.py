"""What the parts of one build share."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wherry.build.api import (
    BuildCancelled,
    BuildRequest,
    Cancel,
    ImageResolver,
    Progress,
    StepRunner,
)
from wherry.build.cache import BuildCache
from wherry.build.context import Context
from wherry.build.scope import BuildArgs
from wherry.build.stages import Plan
from wherry.model.image import ExecConfig, Platform
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Images


class Tools(msgspec.Struct, frozen=True, kw_only=True):
    """What all builds of an engine share. ``caches`` is the directory of cache mounts."""

    images: Images
    snapshots: Snapshotter
    cache: BuildCache
    runner: StepRunner
    resolver: ImageResolver
    caches: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one build was asked to do. ``epoch`` None: each base image's own time."""

    request: BuildRequest
    context: Context
    plan: Plan
    escape: str
    build_args: BuildArgs
    platform: Platform
    epoch: int | None
    progress: Progress
    cancel: Cancel

    def check(self) -> None:
        """BuildCancelled if the build is to stop."""
        if self.cancel.is_set():
            raise BuildCancelled("the build was cancelled")


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a step is about to do.

    ``key`` and ``inputs`` identify it: the instruction as it is to be done, and the digests of
    what it reads. ``content`` digests that more closely where it is dear to do so; it is asked
    only if no step with the same ``inputs`` is known. ``make`` changes files in an active snapshot
    and tells which mountpoints it made; None if the step changes the configuration only.
    """

    key: str
    created_by: str
    config: ExecConfig
    inputs: tuple[str, ...] = ()
    content: Callable[[], str] | None = None
    make: Callable[[str], tuple[str, ...]] | None = None
