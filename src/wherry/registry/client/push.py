"""A push: from an image in the store to a name in a registry."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, cast

import msgspec

from wherry.model.decoding import decoded
from wherry.model.digest import Digest, digest_of, short
from wherry.model.image import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from wherry.model.reference import Reference, parse_reference
from wherry.registry.api import Progress, Pushed, Status, serialised
from wherry.registry.client.download import Meter
from wherry.registry.client.errors import RegistryFailed, RegistryUnreachable
from wherry.registry.client.layers import Watched, compress
from wherry.registry.client.repository import MANIFEST_LIMIT, Repository
from wherry.store.api import Blobs, Image, Images, LayerRecord

_DOCKER_LAYERS = "application/vnd.docker.image.rootfs."


class Pusher:
    """Does one push. The manifest goes last, so that a name never shows half an image."""

    def __init__(
        self, repository: Repository, images: Images, blobs: Blobs, progress: Progress
    ) -> None:
        self._repository = repository
        self._reference = repository.reference
        self._images = images
        self._blobs = blobs
        self._progress = serialised(progress)

    def push(self, image: Image) -> Pushed:
        """Send what the registry lacks of an image, and name it with the reference's tag."""
        with self._images.lease():
            sources = mount_sources(image, self._reference)
            blobs = self._push_layers(image.layers, sources)
            config = self._push_config(image)
            pushed = self._push_manifest(image, config, blobs)
            named = self._reference.with_digest(pushed.digest)
            self._images.add(self._blobs.read(image.id), image.layers, repo_digest=named)
        return pushed

    def _push_manifest(
        self, image: Image, config: Descriptor, layers: Sequence[Descriptor]
    ) -> Pushed:
        """The manifest that the image came with if it still fits, otherwise one of our own."""
        kept = kept_manifest(image, layers, self._blobs)
        made = make_manifest(config, layers)
        media_type, data = kept or (made.media_type, msgspec.json.encode(made))
        pushed = Pushed(digest=digest_of(data), size=len(data))
        self._repository.put_manifest(self._reference.tag or pushed.digest, media_type, data)
        return pushed

    def _push_layers(
        self, layers: Sequence[LayerRecord], sources: Sequence[str]
    ) -> tuple[Descriptor, ...]:
        """All layers in parallel; one that occurs twice is sent once."""
        session = self._repository.session
        unique = {layer.diff_id: layer for layer in layers}
        for diff_id in unique:
            self._progress(Status(status="Preparing", id=short(diff_id)))
        pool = ThreadPoolExecutor(session.settings.parallel_layers, "push")
        try:
            futures = {
                diff_id: pool.submit(self._push_layer, layer, sources)
                for diff_id, layer in unique.items()
            }
            return tuple(futures[layer.diff_id].result() for layer in layers)
        except BaseException:
            session.abort()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _push_layer(self, layer: LayerRecord, sources: Sequence[str]) -> Descriptor:
        name = short(layer.diff_id)
        blob = layer.blob or self._pack(layer)
        if blob.urls:
            self._progress(Status(status="Skipped foreign layer", id=name))
        elif self._repository.has_blob(blob.digest):
            self._progress(Status(status="Layer already exists", id=name))
        else:
            self._send(blob, name, sources)
        return blob

    def _pack(self, layer: LayerRecord) -> Descriptor:
        """Compress a layer that was made here into the store, so that its digest is known."""
        with self._blobs.write() as writer:
            for chunk in compress(self._images.layer_tar(layer)):
                self._repository.session.check_cancelled()
                writer.write(chunk)
            return msgspec.structs.replace(writer.commit(), media_type=OCI_LAYER_GZIP)

    def _push_config(self, image: Image) -> Descriptor:
        size = self._blobs.size(image.id)
        config = Descriptor(media_type=OCI_CONFIG, digest=image.id, size=size)
        if not self._repository.has_blob(config.digest):
            self._send(config, "", ())
        return config

    def _send(self, blob: Descriptor, name: str, sources: Sequence[str]) -> None:
        """Mount or upload one blob. An upload that breaks off is begun again."""
        session = self._repository.session
        for attempt in range(session.settings.attempts):
            location = self._mounted(blob, name, sources if attempt == 0 else ())
            if location is None:
                return
            try:
                self._repository.upload(location, blob, self._opener(blob, name))
            except (RegistryUnreachable, RegistryFailed):
                if attempt == session.settings.attempts - 1:
                    raise
                session.wait(attempt)
                continue
            if name:
                self._progress(Status(status="Pushed", id=name))
            return

    def _mounted(self, blob: Descriptor, name: str, sources: Sequence[str]) -> str | None:
        """None if the registry had the blob in one of the repositories, else an upload's URL."""
        if not sources:
            return self._repository.begin_upload()
        location = self._repository.mount_blob(blob.digest, sources[0])
        if location is None:
            self._progress(Status(status=f"Mounted from {sources[0]}", id=name))
        return location

    def _opener(self, blob: Descriptor, name: str) -> Callable[[], BinaryIO]:
        def watch(count: int) -> None:
            self._repository.session.check_cancelled()
            meter.at(count)

        def opened() -> BinaryIO:
            stream = _Owning(self._blobs.open(blob.digest), watch)
            return cast(BinaryIO, io.BufferedReader(stream, 256 * 1024))

        meter = Meter(self._progress, "Pushing", name, blob.size if name else 0)
        return opened


class _Owning(Watched):
    """Closes the stream that it reads."""

    def close(self) -> None:
        self._stream.close()
        super().close()


def mount_sources(image: Image, target: Reference) -> tuple[str, ...]:
    """Other repositories of the target's registry that are known to hold the image's layers."""
    references = (parse_reference(text) for text in image.repo_digests)
    return tuple(
        reference.path
        for reference in references
        if reference.domain == target.domain and reference.path != target.path
    )


def make_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    """A manifest of OCI's media types; of Docker's if the base image came with those."""
    if any(layer.media_type.startswith(_DOCKER_LAYERS) for layer in layers):
        return _docker_manifest(config, layers)
    return Manifest(schema_version=2, media_type=OCI_MANIFEST, config=config, layers=tuple(layers))


def _docker_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> Manifest:
    return Manifest(
        schema_version=2,
        media_type=DOCKER_MANIFEST,
        config=msgspec.structs.replace(config, media_type=DOCKER_CONFIG),
        layers=tuple(_docker_layers(layers)),
    )


def _docker_layers(layers: Sequence[Descriptor]) -> Iterator[Descriptor]:
    for layer in layers:
        if layer.media_type == OCI_LAYER_GZIP:
            layer = msgspec.structs.replace(layer, media_type=DOCKER_LAYER_GZIP)
        yield layer


class _Listing(msgspec.Struct, rename="camel"):
    """A manifest or an index, as far as it tells what it is made of."""

    media_type: str = OCI_MANIFEST
    manifests: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()


def kept_manifest(
    image: Image, layers: Sequence[Descriptor], blobs: Blobs
) -> tuple[str, bytes] | None:
    """Media type and bytes of the manifest that an image was pulled with, if it names the very
    blobs that are pushed; None otherwise."""
    wanted = [image.id, *(layer.digest for layer in layers)]
    waiting = [Digest(name.partition("@")[2]) for name in image.repo_digests]
    seen: set[Digest] = set()
    while waiting:
        digest = waiting.pop()
        if digest in seen or not blobs.has(digest):
            continue
        seen.add(digest)
        data = blobs.read(digest, MANIFEST_LIMIT)
        listing = decoded(data, _Listing)
        waiting += [entry.digest for entry in listing.manifests]
        if listing.config and wanted == [d.digest for d in (listing.config, *listing.layers)]:
            return listing.media_type, data
    return None
