"""All that can be done with images: the library, registries, archives, base images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from wherry.engine.api import ProgressLine
from wherry.engine.images.archives import ImageArchives
from wherry.engine.images.library import ImageLibrary
from wherry.engine.images.registries import Registries
from wherry.engine.records import Credentials
from wherry.registry.api import Described
from wherry.store.api import Image

if TYPE_CHECKING:
    from wherry.bootstrap import Bootstrapper

Progress = Callable[[ProgressLine], None]


class ImageService(ImageLibrary, frozen=True):
    """Implements ``engine.api.ImageApi``."""

    registries: Registries
    archives: ImageArchives
    bootstrapper: Callable[[], Bootstrapper]

    def pull(
        self,
        reference: str,
        *,
        platform: str,
        credentials: Credentials | None,
        progress: Progress,
    ) -> Image:
        return self.registries.pull(
            reference, platform=platform, credentials=credentials, progress=progress
        )

    def push(self, reference: str, *, credentials: Credentials | None, progress: Progress) -> None:
        self.registries.push(reference, credentials=credentials, progress=progress)

    def describe(self, reference: str, credentials: Credentials | None) -> Described:
        return self.registries.describe(reference, credentials)

    def login(self, credentials: Credentials) -> None:
        self.registries.login(credentials)

    def save(self, names: Sequence[str], output: Callable[[bytes], None]) -> None:
        for image in self.archives.save(names, output):
            self._event("save", image, image.id)

    def load(self, archive: BinaryIO, progress: Progress) -> None:
        self.archives.load(archive, progress, lambda image: self._event("load", image, image.id))

    def bootstrap(self, name: str, *, progress: Progress) -> Image:
        image = self.bootstrapper().bootstrap(name, progress)
        self._event("import", image, name)
        return image

    def bootstrap_names(self) -> tuple[tuple[str, str], ...]:
        return tuple((recipe.name, recipe.description) for recipe in self.bootstrapper().list())
