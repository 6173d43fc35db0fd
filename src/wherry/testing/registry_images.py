"""Images for the tests of registries: made in memory, kept in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import BinaryIO

import msgspec

from wherry.errors import DataCorrupt, NotFound
from wherry.model.digest import Digest, digest_of
from wherry.model.image import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Manifest,
    RootFs,
    chain_ids,
)
from wherry.model.reference import Reference
from wherry.store.api import Image, LayerRecord
from wherry.testing.registry_server import RegistryServer


def sample_tar(files: dict[str, bytes]) -> bytes:
    """A layer with regular files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


@dataclass(frozen=True)
class Sample:
    """An image as it lies in a registry."""

    config_json: bytes
    manifest_json: bytes
    blobs: tuple[bytes, ...]
    tars: tuple[bytes, ...]
    media_type: str

    @property
    def image_id(self) -> Digest:
        return digest_of(self.config_json)

    @property
    def digest(self) -> Digest:
        return digest_of(self.manifest_json)


def sample_image(
    tars: Sequence[bytes],
    *,
    architecture: str = "amd64",
    os: str = "linux",
    blobs: Sequence[bytes] | None = None,
    layer_type: str = OCI_LAYER_GZIP,
    manifest_type: str = OCI_MANIFEST,
    config_type: str = OCI_CONFIG,
) -> Sample:
    """An image of uncompressed layers; ``blobs`` are their compressed forms (default: gzip)."""
    packed = [gzip.compress(tar, mtime=0) for tar in tars] if blobs is None else list(blobs)
    diff_ids = tuple(digest_of(tar) for tar in tars)
    config = ImageConfig(architecture=architecture, os=os, rootfs=RootFs(diff_ids=diff_ids))
    config_json = msgspec.json.encode(config)
    manifest = Manifest(
        schema_version=2,
        media_type=manifest_type,
        config=_descriptor(config_type, config_json),
        layers=tuple(_descriptor(layer_type, blob) for blob in packed),
    )
    encoded = msgspec.json.encode(manifest)
    return Sample(config_json, encoded, tuple(packed), tuple(tars), manifest_type)


def _descriptor(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest_of(data), size=len(data))


def publish(server: RegistryServer, repository: str, tag: str, sample: Sample) -> str:
    """Put an image into a registry; the digest of its manifest."""
    for blob in (*sample.blobs, sample.config_json):
        server.add_blob(repository, blob)
    return server.add_manifest(repository, tag, sample.media_type, sample.manifest_json)


def index_of(entries: Iterable[dict[str, object]], media_type: str) -> bytes:
    """An index; each entry is a descriptor's JSON."""
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}
    return json.dumps(body).encode()


# --- a store in memory -------------------------------------------------------------------------


class MemoryWriter:
    def __init__(self, blobs: dict[str, bytes]) -> None:
        self._blobs = blobs
        self._data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self._data += data

    def commit(self, expected: Digest | None = None) -> Descriptor:
        data = bytes(self._data)
        digest = digest_of(data)
        if expected not in (None, digest):
            raise DataCorrupt(f"content has the digest {digest}, not {expected}")
        self._blobs[digest] = data
        return Descriptor(media_type="application/octet-stream", digest=digest, size=len(data))

    def __enter__(self) -> MemoryWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self._data.clear()


@dataclass
class MemoryBlobs:
    """``store.api.Blobs``, in a dictionary."""

    content: dict[str, bytes] = field(default_factory=dict)

    def has(self, digest: Digest) -> bool:
        return digest in self.content

    def size(self, digest: Digest) -> int:
        return len(self._get(digest))

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self._get(digest))

    def read(self, digest: Digest, limit: int = 8 * 1024 * 1024) -> bytes:
        data = self._get(digest)
        if len(data) > limit:
            raise DataCorrupt(f"{digest} is larger than {limit} bytes")
        return data

    def write(self) -> MemoryWriter:
        return MemoryWriter(self.content)

    def put(self, data: bytes) -> Digest:
        digest = digest_of(data)
        self.content[digest] = data
        return digest

    def remove(self, digest: Digest) -> None:
        self.content.pop(digest, None)

    def list(self) -> Iterator[Digest]:
        return iter([Digest(text) for text in self.content])

    def _get(self, digest: Digest) -> bytes:
        if digest not in self.content:
            raise NotFound(f"no such blob: {digest}")
        return self.content[digest]


@dataclass
class MemoryImages:
    """``store.api.Images`` that keeps layers as tar streams and unpacks nothing."""

    blobs: MemoryBlobs
    images: dict[Digest, Image] = field(default_factory=dict)
    tars: dict[Digest, bytes] = field(default_factory=dict)  # by chain id

    def add(
        self,
        config_json: bytes,
        layers: Iterable[LayerRecord],
        *,
        references: Iterable[Reference] = (),
        repo_digest: Reference | None = None,
        parent: Digest | None = None,
    ) -> Image:
        image_id = self.blobs.put(config_json)
        old = self.images.get(image_id)
        digests = [f"{repo_digest.repository}@{repo_digest.digest}"] if repo_digest else []
        image = Image(
            id=image_id,
            config=msgspec.json.decode(config_json, type=ImageConfig),
            layers=tuple(layers),
            references=old.references if old else (),
            repo_digests=(*(old.repo_digests if old else ()), *digests),
            created_ns=0,
            parent=parent,
        )
        self.images[image.id] = image
        for reference in references:
            self.tag(image.id, reference)
        return self.images[image.id]

    def get(self, name_or_id: str) -> Image:
        for image in self.images.values():
            if name_or_id == image.id or name_or_id in image.references:
                return image
        raise NotFound(f"No such image: {name_or_id}")

    def list(self) -> tuple[Image, ...]:
        return tuple(self.images.values())

    def tag(self, image: Digest, reference: Reference) -> None:
        for other in self.images.values():
            kept = tuple(name for name in other.references if name != str(reference))
            self.images[other.id] = msgspec.structs.replace(other, references=kept)
        named = self.images[image]
        names = (*named.references, str(reference))
        self.images[image] = msgspec.structs.replace(named, references=names)

    def untag(self, reference: Reference) -> None:
        image = self.get(str(reference))
        kept = tuple(name for name in image.references if name != str(reference))
        self.images[image.id] = msgspec.structs.replace(image, references=kept)

    def remove(self, image: Digest) -> tuple[Digest, ...]:
        del self.images[image]
        return ()

    def lease(self) -> AbstractContextManager[None]:
        return nullcontext()

    def collect_garbage(self) -> tuple[Digest, ...]:
        return ()

    def apply_layer(
        self, stream: BinaryIO, *, parent: Digest | None, expected_diff_id: Digest | None
    ) -> LayerRecord:
        data = b"".join(iter(lambda: bytes(stream.read(65536)), b""))
        diff_id = Digest("sha256:" + hashlib.sha256(data).hexdigest())
        if expected_diff_id not in (None, diff_id):
            raise DataCorrupt(f"the layer has the diff id {diff_id}, not {expected_diff_id}")
        chain_id = chain_ids((parent, diff_id))[-1] if parent else diff_id
        self.tars[chain_id] = data
        return LayerRecord(diff_id=diff_id, chain_id=chain_id, size=len(data))

    def commit_layer(self, key: str, *, exclude: Iterable[str] = ()) -> LayerRecord | None:
        raise NotFound(f"no such snapshot: {key}")

    def layer_tar(self, layer: LayerRecord) -> Iterator[bytes]:
        data = self.tars[layer.chain_id]
        return (data[place : place + 4096] for place in range(0, len(data), 4096))
