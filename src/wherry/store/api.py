"""The seams of the content store and of the image store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

import msgspec

from wherry.model.digest import Digest
from wherry.model.image import Descriptor, ImageConfig
from wherry.model.reference import Reference


class BlobWriter(Protocol):
    """An open write to the blob store. Leaving its context without commit drops what it got."""

    def write(self, data: bytes | memoryview) -> None: ...

    def commit(self, expected: Digest | None = None) -> Descriptor:
        """Make the content visible under its digest; DataCorrupt if that is not ``expected``.

        The descriptor's media type is ``application/octet-stream``. Committing content that is
        there already succeeds.
        """
        ...

    def __enter__(self) -> BlobWriter: ...

    def __exit__(self, *exc: object) -> None: ...


class Blobs(Protocol):
    """Content by digest, immutable."""

    def has(self, digest: Digest) -> bool: ...

    def size(self, digest: Digest) -> int:
        """Bytes; NotFound."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Read the content. NotFound."""
        ...

    def read(self, digest: Digest, limit: int = 8 * 1024 * 1024) -> bytes:
        """The whole content, verified; DataCorrupt if it is damaged or larger than ``limit``."""
        ...

    def write(self) -> BlobWriter: ...

    def put(self, data: bytes) -> Digest: ...

    def remove(self, digest: Digest) -> None: ...

    def list(self) -> Iterator[Digest]: ...


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One layer of an image as it is on this machine.

    ``blob`` is the compressed form as pulled; a layer that was built here has none, its tar
    stream is made again, bit for bit, from the snapshot when it is pushed or saved.
    """

    diff_id: Digest
    chain_id: Digest
    size: int  # of the uncompressed tar stream, bytes
    blob: Descriptor | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image on this machine. ``id`` is the digest of the configuration's bytes."""

    id: Digest
    config: ImageConfig
    layers: tuple[LayerRecord, ...]
    references: tuple[str, ...]  # normalised, with tag: docker.io/library/python:3.11-slim
    repo_digests: tuple[str, ...]  # normalised, with the manifest's digest
    created_ns: int  # when the engine got it
    parent: Digest | None = None  # the image it was built from here, if any

    @property
    def chain_id(self) -> Digest | None:
        """The name of the committed snapshot with all its layers; None for an empty image."""
        return self.layers[-1].chain_id if self.layers else None

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


class Images(Protocol):
    """Images and their names. Safe to call from several threads."""

    def add(
        self,
        config_json: bytes,
        layers: Iterable[LayerRecord],
        *,
        references: Iterable[Reference] = (),
        repo_digest: Reference | None = None,
        parent: Digest | None = None,
    ) -> Image:
        """Record an image whose snapshots are committed; adds names to one that exists."""
        ...

    def get(self, name_or_id: str) -> Image:
        """By reference, ``sha256:`` id or unambiguous id prefix.

        NotFound "No such image: NAME" as Docker words it; InvalidArgument if malformed.
        """
        ...

    def list(self) -> tuple[Image, ...]: ...

    def tag(self, image: Digest, reference: Reference) -> None:
        """Moves the name if another image has it."""
        ...

    def untag(self, reference: Reference) -> None:
        """NotFound if there is no such name."""
        ...

    def remove(self, image: Digest) -> tuple[Digest, ...]:
        """Remove an image with all its names, and the layers and blobs that nothing else needs;
        returns the chain ids removed, topmost first. Containers are the caller's business: a layer
        that a snapshot is on top of stays until :meth:`collect_garbage`. NotFound."""
        ...

    def lease(self) -> AbstractContextManager[None]:
        """While the context lasts, no layer and no blob that is used or made anywhere is taken
        away: for what is on its way to become an image (a pull, a load, a build)."""
        ...

    def collect_garbage(self) -> tuple[Digest, ...]:
        """Remove all layers and blobs that neither an image nor a snapshot needs; returns the chain
        ids removed. Does nothing while a lease is held."""
        ...

    def apply_layer(
        self, stream: BinaryIO, *, parent: Digest | None, expected_diff_id: Digest | None
    ) -> LayerRecord:
        """Unpack one uncompressed layer on top of the chain ``parent`` and commit its snapshot.

        Hashes while unpacking, so the stream is read once; DataCorrupt if the diff id differs,
        and nothing is left then. Unpacking a chain that is there already only verifies it.

        Without ``expected_diff_id`` the stream is nobody's layer yet and becomes one of ours: its
        diff id is that of the stream that :meth:`layer_tar` makes of the same files. With it,
        :meth:`layer_tar` needs the blob: give it to :meth:`add` in the record, or have the
        uncompressed stream itself in the blob store.
        """
        ...

    def commit_layer(
        self, key: str, *, exclude: Iterable[str] = (), max_mtime: int | None = None
    ) -> LayerRecord | None:
        """Turn the changes of the active snapshot ``key`` into a layer on its parent.

        ``exclude``: absolute paths left out while they are empty (mountpoints). ``max_mtime``:
        later times become this one, in seconds since the epoch, in the snapshot as in the layer.
        None if nothing changed; the snapshot is gone in both cases.
        """
        ...

    def changes_tar(self, key: str, *, exclude: Iterable[str] = ()) -> Iterator[bytes]:
        """The tar stream of the layer that the active snapshot ``key`` would become now, which
        stays as it is; no bytes if nothing changed."""
        ...

    def layer_tar(self, layer: LayerRecord) -> Iterator[bytes]:
        """The layer's uncompressed tar stream, the same bytes each time."""
        ...
