"""Images: names, removal, history, pull, push, base images."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from wherry.engine.api import NO_FILTERS, Filters
from wherry.engine.events import Events
from wherry.engine.images.filters import list_tests, prune_tests
from wherry.engine.images.times import listed_ns
from wherry.engine.records import Container, RemovedImage
from wherry.engine.table import ContainerTable
from wherry.errors import Conflict, InvalidArgument
from wherry.model.digest import Digest, short
from wherry.model.image import History
from wherry.model.reference import parse_reference
from wherry.store.api import Image, Images


class ImageLibrary(msgspec.Struct, frozen=True):
    """What the engine can say and change about images that are on this machine."""

    store: Images
    containers: ContainerTable
    events: Events

    def get(self, name: str) -> Image:
        return self.store.get(name)

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[Image, ...]:
        """Newest first."""
        tests = list_tests(filters, self.get)
        images = sorted(self.store.list(), key=listed_ns, reverse=True)
        return tuple(image for image in images if all(test(image) for test in tests))

    def history(self, name: str) -> tuple[tuple[History, int], ...]:
        """Each step with its layer's size in bytes, newest first."""
        image = self.get(name)
        sizes = iter([layer.size for layer in image.layers])
        steps = [(step, 0 if step.empty_layer else next(sizes, 0)) for step in image.config.history]
        # An image without history (BEHAVIOURS 35) still shows what its layers weigh.
        steps += [(History(comment="<layer without history>"), size) for size in sizes]
        return tuple(reversed(steps))

    def tag(self, name: str, repository: str, tag: str) -> None:
        image = self.get(name)
        reference = parse_reference(repository)
        if reference.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        reference = reference.with_tag(tag) if tag else reference.tagged()
        self.store.tag(image.id, reference)
        self._event("tag", image, reference.familiar)

    def remove(
        self, name: str, *, force: bool = False, prune: bool = True
    ) -> tuple[RemovedImage, ...]:
        """Take a name away; with the last one, delete the image. By id: all names at once."""
        image = self.get(name)
        named = _reference_in(image, name)
        going = _going_with(image, named) if named else ()
        if named and len(going) < len(image.references) + len(image.repo_digests):
            return tuple(self._untag(image, text) for text in going)
        if not named and len(_repositories(image)) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {short(image.id)} (must be forced) - image is "
                "referenced in multiple repositories"
            )
        self._check_unused(image, force)
        removed = [self._untag(image, text) for text in image.references]
        removed += [RemovedImage(untagged=_familiar(text)) for text in image.repo_digests]
        if self._is_used(image):
            # Forced while a stopped container needs it: the names go, the content stays.
            return tuple(removed)
        return (*removed, *self._delete(image))

    def prune(self, filters: Filters = NO_FILTERS) -> tuple[tuple[RemovedImage, ...], int]:
        """Delete unused images: the nameless ones, or with ``dangling=false`` all."""
        tests = prune_tests(filters)
        removed: list[RemovedImage] = []
        reclaimed = 0
        for image in self.store.list():
            if self._is_used(image) or not all(test(image) for test in tests):
                continue
            removed += [self._untag(image, text) for text in image.references]
            removed += self._delete(image)
            reclaimed += image.size
        return tuple(removed), reclaimed

    def _is_used(self, image: Image) -> bool:
        return any(_needs(entry.record, image) for entry in self.containers)

    def _check_unused(self, image: Image, force: bool) -> None:
        for entry in self.containers:
            record = entry.record
            if not _needs(record, image):
                continue
            running = record.state.running
            if force and not running:
                continue
            how = "cannot be forced" if running else "must be forced"
            kind = "running" if running else "stopped"
            raise Conflict(
                f"conflict: unable to delete {short(image.id)} ({how}) - image is being used "
                f"by {kind} container {entry.id[:12]}"
            )

    def _untag(self, image: Image, text: str) -> RemovedImage:
        reference = parse_reference(text)
        self.store.untag(reference)
        self._event("untag", image, image.id)
        return RemovedImage(untagged=reference.familiar)

    def _delete(self, image: Image) -> tuple[RemovedImage, ...]:
        layers = self.store.remove(image.id)
        self.events.emit("image", "delete", image.id, {"name": image.id})
        return tuple(RemovedImage(deleted=digest) for digest in (image.id, *layers))

    def _event(self, action: str, image: Image, name: str) -> None:
        labels = image.config.config.labels or {}
        self.events.emit("image", action, image.id, {**labels, "name": name})


def _needs(record: Container, image: Image) -> bool:
    """Whether a container was made of an image, or mounts it."""
    return record.image_id == image.id or any(m.image_id == image.id for m in record.mounts)


def _familiar(text: str) -> str:
    return parse_reference(text).familiar


def _repositories(image: Image) -> set[str]:
    return {parse_reference(text).repository for text in image.references}


def _reference_in(image: Image, name: str) -> str | None:
    """The image's own name, or repository digest, that ``name`` means; None if it is an id."""
    try:
        reference = parse_reference(name)
    except InvalidArgument:
        return None
    digest = f"{reference.repository}@{reference.digest}"
    wanted = digest if reference.digest else str(reference.tagged())
    return wanted if wanted in (*image.references, *image.repo_digests) else None


def _going_with(image: Image, named: str) -> tuple[str, ...]:
    """What goes with a name: the digests of a repository go with its last tag."""
    repository = parse_reference(named).repository
    tags = [t for t in image.references if parse_reference(t).repository == repository]
    if named in image.references and len(tags) > 1:
        return (named,)
    if named not in image.references and tags:
        return (named,)
    digests = [d for d in image.repo_digests if parse_reference(d).repository == repository]
    return (named, *(d for d in digests if d != named))


def image_names(images: Iterable[Image]) -> Callable[[Digest], str]:
    """A function from an image's id to its first familiar name, or its short id."""
    names = {i.id: _familiar(i.references[0]) for i in images if i.references}
    return lambda digest: names.get(digest, short(digest))
