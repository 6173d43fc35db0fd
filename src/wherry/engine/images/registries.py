"""Pull and push, in the terms of the engine's API."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from wherry import __version__
from wherry.engine.api import ProgressLine
from wherry.engine.events import Events
from wherry.engine.records import Credentials
from wherry.model.reference import parse_reference
from wherry.registry import api as registry
from wherry.registry.api import RegistrySettings
from wherry.store.api import Blobs, Image, Images

if TYPE_CHECKING:
    from wherry.registry.client import RegistryClient

Progress = Callable[[ProgressLine], None]


class Registries:
    """Moves images between this machine and registries. Each call takes long."""

    def __init__(
        self, settings: RegistrySettings, images: Images, blobs: Blobs, events: Events
    ) -> None:
        self._settings = settings
        self._images = images
        self._blobs = blobs
        self._events = events

    @cached_property
    def _client(self) -> RegistryClient:
        # Imported with the first transfer: most engine starts never make one.
        from wherry.registry.client import RegistryClient

        return RegistryClient(self._settings, f"wherry/{__version__}")

    def pull(
        self,
        reference: str,
        *,
        platform: str,
        credentials: Credentials | None,
        progress: Progress,
    ) -> Image:
        from wherry.registry.client import parse_platform

        name = parse_reference(reference).tagged()
        tag = name.tag or str(name.digest)
        first: ProgressLine = {"status": f"Pulling from {name.path}", "id": tag}
        # A collection of garbage beside the pull must not take what it has fetched so far.
        with self._images.lease():
            pulled = self._client.pull(
                name,
                images=self._images,
                blobs=self._blobs,
                progress=registry.serialised(_lines(_Announced(first, progress))),
                platform=parse_platform(platform) if platform else None,
                credentials=_convert(credentials),
            )
        progress({"status": f"Digest: {pulled.digest}"})
        how = "Image is up to date for" if pulled.up_to_date else "Downloaded newer image for"
        progress({"status": f"Status: {how} {name.familiar}"})
        self._events.emit("image", "pull", name.familiar, {"name": name.familiar_repository})
        return pulled.image

    def push(self, reference: str, *, credentials: Credentials | None, progress: Progress) -> None:
        name = parse_reference(reference).tagged()
        image = self._images.get(str(name))
        progress({"status": f"The push refers to repository [{name.repository}]"})
        pushed = self._client.push(
            name,
            image,
            images=self._images,
            blobs=self._blobs,
            progress=registry.serialised(_lines(progress)),
            credentials=_convert(credentials),
        )
        progress({"status": f"{name.tag}: digest: {pushed.digest} size: {pushed.size}"})
        aux = {"Tag": name.tag, "Digest": pushed.digest, "Size": pushed.size}
        progress({"progressDetail": {}, "aux": aux})
        self._events.emit("image", "push", name.familiar, {"name": name.familiar_repository})

    def describe(self, reference: str, credentials: Credentials | None) -> registry.Described:
        """What a registry has under a name; NotFound, Unauthenticated."""
        return self._client.describe(parse_reference(reference), _convert(credentials))

    def login(self, credentials: Credentials) -> None:
        """See whether a registry takes a login; Unauthenticated."""
        self._client.log_in(credentials.server_address, _convert(credentials))


def _lines(progress: Progress) -> Callable[[registry.Status], None]:
    return lambda status: progress(registry.progress_line(status))


class _Announced:
    """Passes lines on, and a first one before them.

    It waits for the registry's first answer: an unknown image is an error with a status of its
    own only as long as no line was written.
    """

    def __init__(self, first: ProgressLine, progress: Progress) -> None:
        self._first: ProgressLine | None = first
        self._progress = progress

    def __call__(self, line: ProgressLine) -> None:
        if self._first is not None:
            self._progress(self._first)
            self._first = None
        self._progress(line)


def _convert(credentials: Credentials | None) -> registry.Credentials:
    if credentials is None:
        return registry.ANONYMOUS
    return registry.Credentials(
        username=credentials.username,
        password=credentials.password,
        identity_token=credentials.identity_token,
        registry_token=credentials.registry_token,
    )
