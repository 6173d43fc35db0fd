"""A pull: from a name to an image in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader
from typing import BinaryIO, TypeVar, cast

import msgspec

from wherry.errors import DataCorrupt
from wherry.fs.compress import Decompressed
from wherry.fs.tar.entry import BadArchive
from wherry.model.decoding import decoded
from wherry.model.digest import Digest, short
from wherry.model.image import (
    DOCKER_CONFIG,
    INDEX_TYPES,
    OCI_CONFIG,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    chain_ids,
)
from wherry.model.malformed import MALFORMED
from wherry.registry.api import Progress, Pulled, Status, serialised
from wherry.registry.client.download import Downloader, Meter
from wherry.registry.client.errors import ManifestUnknown, NotAnImage
from wherry.registry.client.layers import Watched
from wherry.registry.client.platforms import choose, host_platform, matches
from wherry.registry.client.repository import RawManifest, Repository
from wherry.store.api import Blobs, Image, Images, LayerRecord

_CONFIG_LIMIT = 8 * 1024 * 1024  # bytes
_LAYERS_LIMIT = 1024
_BUFFER = 256 * 1024
_NESTING = 3  # indexes in indexes


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """A layer as the registry has it, and what it is to be once unpacked."""

    blob: Descriptor
    diff_id: Digest
    chain_id: Digest


class Puller:
    """Does one pull. Leaves no image behind if it fails; blobs and layers that are whole stay
    for the next attempt, until the store collects what nothing needs."""

    def __init__(
        self, repository: Repository, images: Images, blobs: Blobs, progress: Progress
    ) -> None:
        self._repository = repository
        self._reference = repository.reference
        self._images = images
        self._blobs = blobs
        self._progress = serialised(progress)

    def pull(self, platform: Platform | None) -> Pulled:
        """``platform`` None: this machine's, and a single image whatever it is for."""
        with self._images.lease():
            return self._pull(platform)

    def _pull(self, platform: Platform | None) -> Pulled:
        digest = self._repository.resolve()
        if digest and (image := self._present(digest, platform)):
            return self._finish(image, digest, up_to_date=True)
        raw = self._kept(self._repository.manifest(digest))
        manifest = self._manifest(raw, platform or host_platform())
        config_json = self._config(manifest)
        config = _decode(config_json, ImageConfig, "configuration")
        self._check(config, manifest, platform)
        records = self._pull_layers(_layers(manifest, config))
        named = self._reference.with_digest(raw.digest)
        image = self._images.add(config_json, records, repo_digest=named)
        return self._finish(image, raw.digest, up_to_date=False)

    # --- names and manifests --------------------------------------------------------------

    def _present(self, digest: Digest, platform: Platform | None) -> Image | None:
        """The image that was pulled under this digest before, if it is for the platform."""
        name = f"{self._reference.repository}@{digest}"
        wanted = platform or host_platform()
        for image in self._images.list():
            if name in image.repo_digests and matches(image.config.platform, wanted):
                return image
        return None

    def _finish(self, image: Image, digest: Digest, *, up_to_date: bool) -> Pulled:
        if self._reference.tag:
            self._images.tag(image.id, self._reference.with_tag(self._reference.tag))
        return Pulled(image=self._images.get(image.id), digest=digest, up_to_date=up_to_date)

    def _manifest(self, raw: RawManifest, platform: Platform) -> Manifest:
        """The manifest for a platform, through as many indexes as it takes."""
        for _ in range(_NESTING):
            if _media_type(raw) not in INDEX_TYPES:
                return self._image_manifest(raw)
            index = _decode(raw.data, Index, "index")
            entry = choose(index, platform, self._reference.familiar)
            raw = self._kept(self._repository.manifest(entry.digest))
        raise NotAnImage(f"{self._reference.familiar} is an index of indexes of indexes")

    def _kept(self, raw: RawManifest) -> RawManifest:
        """Keep a manifest with the image, so that a push elsewhere gives the same digest."""
        self._blobs.put(raw.data)
        return raw

    def _image_manifest(self, raw: RawManifest) -> Manifest:
        manifest = _decode(raw.data, Manifest, "manifest")
        kind = manifest.config.media_type
        if kind not in (OCI_CONFIG, DOCKER_CONFIG):
            raise NotAnImage(f"{self._reference.familiar} is no container image but {kind}")
        if len(manifest.layers) > _LAYERS_LIMIT:
            raise NotAnImage(f"{self._reference.familiar} has more than {_LAYERS_LIMIT} layers")
        return manifest

    def _config(self, manifest: Manifest) -> bytes:
        if self._blobs.has(manifest.config.digest):
            return self._blobs.read(manifest.config.digest)
        return self._repository.small_blob(manifest.config, _CONFIG_LIMIT)

    def _check(self, config: ImageConfig, manifest: Manifest, platform: Platform | None) -> None:
        name = self._reference.familiar
        if config.os != "linux":
            raise ManifestUnknown(f'image operating system "{config.os}" cannot be used: {name}')
        if platform and not matches(config.platform, platform):
            raise ManifestUnknown(
                f"{name} is there for {config.platform} only, and {platform} was asked for"
            )
        if len(config.rootfs.diff_ids) != len(manifest.layers):
            raise DataCorrupt(f"{name} is damaged: its configuration names other layers")

    # --- layers ---------------------------------------------------------------------------

    def _pull_layers(self, layers: Sequence[Layer]) -> list[LayerRecord]:
        known = {r.chain_id: r for image in self._images.list() for r in image.layers}
        records: list[LayerRecord] = []
        for layer in layers:
            if layer.chain_id not in known:
                break
            self._progress(Status(status="Already exists", id=short(layer.blob.digest)))
            records.append(known[layer.chain_id])
        missing = layers[len(records) :]
        with self._downloads(missing) as downloads:
            for layer in missing:
                downloads[layer.blob.digest].result()
                records.append(self._unpack(layer, records))
        return records

    @contextmanager
    def _downloads(self, layers: Sequence[Layer]) -> Iterator[dict[Digest, Future[None]]]:
        """Start to download all layers, the lowest first; none goes on after an error."""
        session = self._repository.session
        downloader = Downloader(self._repository, self._blobs, self._progress)
        for layer in layers:
            self._progress(Status(status="Pulling fs layer", id=short(layer.blob.digest)))
        pool = ThreadPoolExecutor(session.settings.parallel_layers, "pull")
        try:
            blobs = {layer.blob.digest: layer.blob for layer in layers}
            yield {digest: pool.submit(downloader.fetch, blob) for digest, blob in blobs.items()}
        except BaseException:
            session.abort()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _unpack(self, layer: Layer, below: Sequence[LayerRecord]) -> LayerRecord:
        name = short(layer.blob.digest)
        meter = Meter(self._progress, "Extracting", name, layer.blob.size)
        with self._blobs.open(layer.blob.digest) as blob:
            record = self._apply(layer, Watched(blob, self._watch(meter)), below)
        self._progress(Status(status="Pull complete", id=name))
        return msgspec.structs.replace(record, blob=layer.blob)

    def _apply(self, layer: Layer, blob: Watched, below: Sequence[LayerRecord]) -> LayerRecord:
        """Unpack by what the bytes are, whatever the media type says."""
        try:
            stream = Decompressed(BufferedReader(blob, _BUFFER))
            return self._images.apply_layer(
                cast(BinaryIO, stream),
                parent=below[-1].chain_id if below else None,
                expected_diff_id=layer.diff_id,
            )
        except BadArchive as error:
            raise DataCorrupt(f"layer {layer.blob.digest} is damaged: {error}") from error

    def _watch(self, meter: Meter) -> Callable[[int], None]:
        def watch(count: int) -> None:
            self._repository.session.check_cancelled()
            meter.at(count)

        return watch


_T = TypeVar("_T")


def _decode(data: bytes, kind: type[_T], name: str) -> _T:
    try:
        return decoded(data, kind)
    except MALFORMED as error:
        raise DataCorrupt(f"the registry sent a damaged {name}: {error}") from error


class _Typed(msgspec.Struct, rename="camel"):
    media_type: str = ""


def _media_type(raw: RawManifest) -> str:
    """What the content itself says; the header where it says nothing."""
    return _decode(raw.data, _Typed, "manifest").media_type or raw.media_type


def _layers(manifest: Manifest, config: ImageConfig) -> list[Layer]:
    diff_ids = config.rootfs.diff_ids
    chain = chain_ids(diff_ids)
    return [
        Layer(blob=blob, diff_id=diff_id, chain_id=chain_id)
        for blob, diff_id, chain_id in zip(manifest.layers, diff_ids, chain, strict=True)
    ]
