"""Images, and what makes them, as a policy shows and allows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import msgspec

from wherry.api.policy.guard_containers import own_only
from wherry.api.policy.names import named
from wherry.api.policy.powers import check_build_network, check_security
from wherry.api.policy.view import Part
from wherry.build.api import BuildRequest, BuildResult, Cancel, ContextStream, Progress
from wherry.engine.api import (
    NO_FILTERS,
    CommitOptions,
    Filters,
    ImportOptions,
    ProgressLine,
    PruneReport,
)
from wherry.engine.records import Credentials, RemovedImage
from wherry.errors import InvalidArgument
from wherry.model.digest import Digest
from wherry.model.reference import parse_reference
from wherry.store.api import Image

Tell = Callable[[ProgressLine], None]


def _joined(repository: str, tag: str) -> str:
    return f"{repository}:{tag}" if tag else repository


def _is_name(text: str, image: Image) -> bool:
    """Whether an image was found by its name, and not by its id."""
    try:
        return str(parse_reference(text).tagged()) in image.references
    except InvalidArgument:
        return False


class GuardedImages(Part):
    def get(self, name: str) -> Image:
        return self._view.image(name)

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[Image, ...]:
        return tuple(filter(self._view.shows_image, self._engine.images.list(filters=filters)))

    def history(self, name: str) -> Any:
        return self._engine.images.history(self._view.image(name).id)

    def tag(self, name: str, repository: str, tag: str) -> None:
        self._view.new_name(_joined(repository, tag))
        self._engine.images.tag(self._view.image(name).id, repository, tag)

    def remove(
        self, name: str, *, force: bool = False, prune: bool = True
    ) -> tuple[RemovedImage, ...]:
        """A name must be the policy's to give; by its id, all names of the image."""
        image = self._view.image(name)
        names = (name,) if _is_name(name, image) else image.references
        given = bool(names) and all(named(text, self._policy.tag_patterns) for text in names)
        if not (given or self._view.owns_image(image)):
            raise self._policy.refusal(f"the removal of the image {name}", "tags")
        return self._engine.images.remove(name, force=force, prune=prune)

    def prune(self, filters: Filters = NO_FILTERS) -> Any:
        return self._engine.images.prune(own_only(self._policy.labels, filters))

    def pull(
        self, reference: str, *, platform: str, credentials: Credentials | None, progress: Tell
    ) -> Image:
        if not named(reference, self._policy.image_patterns):
            raise self._policy.refusal(f"the image {reference}", "images")
        return self._engine.images.pull(
            reference, platform=platform, credentials=credentials, progress=progress
        )

    def push(self, reference: str, *, credentials: Credentials | None, progress: Tell) -> None:
        self._view.new_name(reference)
        self._view.image(str(parse_reference(reference).tagged()))
        self._engine.images.push(reference, credentials=credentials, progress=progress)

    def describe(self, reference: str, credentials: Credentials | None) -> Any:
        if not named(reference, self._policy.image_patterns):
            raise self._policy.refusal(f"the image {reference}", "images")
        return self._engine.images.describe(reference, credentials)

    def login(self, credentials: Credentials) -> None:
        if not self._policy.grant.fetch:
            raise self._policy.refusal("asking a registry about credentials", "grant.fetch")
        self._engine.images.login(credentials)

    def save(self, names: Sequence[str], output: Callable[[bytes], None]) -> None:
        for name in names:
            self._view.image(name)
        self._engine.images.save(names, output)

    def load(self, archive: BinaryIO, progress: Tell) -> None:
        """An archive names its images itself, after it has been let in."""
        if not self._policy.grant.load:
            raise self._policy.refusal("loading an archive of images", "grant.load")
        self._engine.images.load(archive, progress)

    def bootstrap(self, name: str, *, progress: Tell) -> Image:
        self._view.new_name(name)
        return self._engine.images.bootstrap(name, progress=progress)

    def bootstrap_names(self) -> tuple[tuple[str, str], ...]:
        return self._engine.images.bootstrap_names()


class GuardedStore(Part):
    def list(self) -> tuple[Image, ...]:
        return tuple(filter(self._view.shows_image, self._engine.image_store.list()))

    def get(self, name_or_id: str) -> Image:
        return self._view.image(name_or_id)


class GuardedCommits(Part):
    def commit(self, ref: str, options: CommitOptions) -> Digest:
        container = self._view.container(ref)
        if options.repository:
            self._view.new_name(_joined(options.repository, options.tag))
        labels = self._policy.labelled(options.config.labels) or None
        config = msgspec.structs.replace(options.config, labels=labels)
        return self._engine.commits.commit(
            container.id, msgspec.structs.replace(options, config=config)
        )

    def import_image(
        self, archive: BinaryIO | None, options: ImportOptions, progress: Tell
    ) -> Digest:
        if archive is None and not self._policy.grant.fetch:
            raise self._policy.refusal("fetching an archive from a URL", "grant.fetch")
        if not options.repository:
            raise self._policy.refusal("importing an image without a name", "tags")
        self._view.new_name(_joined(options.repository, options.tag))
        return self._engine.commits.import_image(archive, options, progress)


class GuardedBuilds(Part):
    def build(
        self,
        request: BuildRequest,
        context: ContextStream,
        progress: Progress,
        cancelled: Cancel,
    ) -> BuildResult:
        for name in request.tags:
            self._view.new_name(name)
        self._check(request)
        checked = msgspec.structs.replace(
            request,
            labels=self._policy.labelled(request.labels),
            check_base=self._view.base_image,
            allow_fetch=self._policy.grant.fetch,
            cache_scope=self._policy.name,
        )
        return self._engine.builds.build(checked, context, progress, cancelled)

    def _check(self, request: BuildRequest) -> None:
        if request.remote and not self._policy.grant.fetch:
            raise self._policy.refusal("a build's context from a URL", "grant.fetch")
        if request.cgroup_parent:
            raise self._policy.refusal("the option CgroupParent", "no grant is about it")
        for name in request.cache_from:
            self._view.base_image(name)
        check_security(self._policy, request.security_opt)
        check_build_network(self._view, request.network_mode)

    def cache(self) -> Any:
        """Whose steps they are is not recorded."""
        return () if self._policy.labels else self._engine.builds.cache()

    def prune(
        self, *, every: bool = False, keep: int = 0, filters: Filters = NO_FILTERS
    ) -> PruneReport:
        if self._policy.labels:
            raise self._policy.refusal("emptying the build cache of all", "labels")
        return self._engine.builds.prune(every=every, keep=keep, filters=filters)
