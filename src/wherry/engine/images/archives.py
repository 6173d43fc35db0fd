"""``save`` and ``load``: images as one tar.

What is written is an OCI image layout (image-spec, image-layout.md) that also has Docker's
``manifest.json``, so that both kinds of readers take it. What is read may be either of the two,
also from the time before Docker wrote layouts.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import msgspec

from wherry.engine.api import ProgressLine
from wherry.errors import InvalidArgument
from wherry.fs.compress import Decompressed
from wherry.fs.tar.entry import Entry, Kind
from wherry.fs.tar.reader import TarReader
from wherry.fs.tar.writer import END, header, padding
from wherry.model.decoding import decoded
from wherry.model.digest import Digest, digest_of, hex_of, parse_digest
from wherry.model.image import (
    INDEX_TYPES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
)
from wherry.model.malformed import MALFORMED
from wherry.model.reference import parse_reference
from wherry.store.api import Blobs, Image, Images, LayerRecord

T = TypeVar("T")

_CHUNK = 1024 * 1024
_CONFIG_LIMIT = 8 * 1024 * 1024
_ENTRY_LIMIT = 10_000
_REF_NAME = "org.opencontainers.image.ref.name"
_IMAGE_NAME = "io.containerd.image.name"
_COMPRESSED = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


class DockerManifest(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One image in Docker's ``manifest.json``; paths are members of the archive."""

    config: str
    repo_tags: tuple[str, ...] | None = None
    layers: tuple[str, ...] | None = None


class ImageArchives:
    """Writes and reads archives. Both take long."""

    def __init__(self, images: Images, blobs: Blobs) -> None:
        self._images = images
        self._blobs = blobs

    # --- save ------------------------------------------------------------------------------

    def save(self, names: Sequence[str], output: Callable[[bytes], None]) -> Sequence[Image]:
        """The images that were written."""
        if not names:
            raise InvalidArgument("save needs the name of at least one image")
        chosen = [self._chosen(name) for name in names]
        written: set[Digest] = set()
        for image, _ in chosen:
            for layer in image.layers:
                self._write_layer(layer, written, output)
        entries: list[Descriptor] = []
        dockers: list[DockerManifest] = []
        for image, references in chosen:
            entries += self._write_image(image, references, written, output)
            dockers.append(_docker_manifest(image, references))
        index = Index(schema_version=2, media_type=OCI_INDEX, manifests=tuple(entries))
        _write_file("index.json", msgspec.json.encode(index), output)
        _write_file("manifest.json", msgspec.json.encode(dockers), output)
        _write_file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}', output)
        output(END)
        return [image for image, _ in chosen]

    def _chosen(self, name: str) -> tuple[Image, tuple[str, ...]]:
        """The image, and the names to save with it: the one that was given, none for an id."""
        image = self._images.get(name)
        try:
            wanted = str(parse_reference(name).tagged())
        except InvalidArgument:
            return image, ()
        return image, (wanted,) if wanted in image.references else ()

    def _write_layer(
        self, layer: LayerRecord, written: set[Digest], output: Callable[[bytes], None]
    ) -> None:
        descriptor = _layer_descriptor(layer)
        if descriptor.digest in written:
            return
        written.add(descriptor.digest)
        output(header(Entry(_blob_path(descriptor.digest), Kind.FILE, size=descriptor.size)))
        for chunk in self._layer_bytes(layer):
            output(chunk)
        output(padding(descriptor.size))

    def _layer_bytes(self, layer: LayerRecord) -> Iterator[bytes]:
        if layer.blob is None:
            yield from self._images.layer_tar(layer)
            return
        with self._blobs.open(layer.blob.digest) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def _write_image(
        self,
        image: Image,
        references: Iterable[str],
        written: set[Digest],
        output: Callable[[bytes], None],
    ) -> Iterator[Descriptor]:
        config = self._blobs.read(image.id)
        manifest = Manifest(
            schema_version=2,
            media_type=OCI_MANIFEST,
            config=Descriptor(media_type=OCI_CONFIG, digest=image.id, size=len(config)),
            layers=tuple(_layer_descriptor(layer) for layer in image.layers),
        )
        encoded = msgspec.json.encode(manifest)
        for data in (config, encoded):
            digest = digest_of(data)
            if digest not in written:
                written.add(digest)
                _write_file(_blob_path(digest), data, output)
        for name in references or ("",):
            reference = parse_reference(name) if name else None
            annotations = {_IMAGE_NAME: name, _REF_NAME: reference.tag or ""} if reference else {}
            yield Descriptor(
                media_type=OCI_MANIFEST,
                digest=digest_of(encoded),
                size=len(encoded),
                annotations=annotations,
                platform=image.config.platform,
            )

    # --- load ------------------------------------------------------------------------------

    def load(
        self,
        archive: BinaryIO,
        progress: Callable[[ProgressLine], None],
        loaded: Callable[[Image], None],
    ) -> None:
        """DataCorrupt or InvalidArgument with one sentence if the archive is no good; images
        before the bad one stay, and of those ``loaded`` is told."""
        members = _Members(self._blobs)
        try:
            members.read(archive)
            found = list(_images_in(members))
            if not found:
                raise InvalidArgument(
                    "the archive has no image: it needs a manifest.json or an index.json"
                )
            for described in found:
                loaded(self._load_image(members, described, progress))
        finally:
            members.drop_all_but(self._needed())

    def _needed(self) -> set[Digest]:
        """All blobs that some image's config or layer is."""
        images = self._images.list()
        blobs = {layer.blob.digest for i in images for layer in i.layers if layer.blob}
        return blobs | {image.id for image in images}

    def _load_image(
        self,
        members: _Members,
        described: DockerManifest,
        progress: Callable[[ProgressLine], None],
    ) -> Image:
        config_json = members.read_small(described.config)
        try:
            config = decoded(config_json, ImageConfig)
        except MALFORMED as error:
            raise InvalidArgument(f"{described.config} is no image config: {error}") from None
        layers = described.layers or ()
        if len(layers) != len(config.rootfs.diff_ids):
            raise InvalidArgument(
                f"the image {described.config} has {len(layers)} layers, its config names "
                f"{len(config.rootfs.diff_ids)}"
            )
        records: list[LayerRecord] = []
        for member, diff_id in zip(layers, config.rootfs.diff_ids, strict=True):
            parent = records[-1].chain_id if records else None
            records.append(self._load_layer(members, member, parent, diff_id))
        references = [parse_reference(name) for name in described.repo_tags or ()]
        image = self._images.add(config_json, records, references=references)
        names = [reference.familiar for reference in references]
        for line in names or [f"ID: {image.id}"]:
            what = "Loaded image: " if names else "Loaded image "
            progress({"stream": f"{what}{line}\n"})
        return image

    def _load_layer(
        self, members: _Members, member: str, parent: Digest | None, diff_id: Digest
    ) -> LayerRecord:
        blob = members.digest(member)
        with self._blobs.open(blob) as file:
            plain = Decompressed(file)
            record = self._images.apply_layer(
                plain,  # type: ignore[arg-type]  # it needs read() only
                parent=parent,
                expected_diff_id=diff_id,
            )
        media_type = _COMPRESSED.get(plain.kind)
        if media_type is None:
            return record
        descriptor = Descriptor(media_type=media_type, digest=blob, size=self._blobs.size(blob))
        return msgspec.structs.replace(record, blob=descriptor)


class _Members:
    """The files of an archive, each in the blob store, by name."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._files: dict[str, Digest] = {}
        self._links: dict[str, str] = {}
        self._before = set(blobs.list())

    def read(self, archive: BinaryIO) -> None:
        reader = TarReader(Decompressed(archive))
        for entry in reader:
            name = _clean(entry.name)
            if len(self._files) + len(self._links) >= _ENTRY_LIMIT:
                raise InvalidArgument(f"the archive has more than {_ENTRY_LIMIT} files")
            if entry.kind is Kind.FILE:
                self._files[name] = self._store(reader)
            elif entry.kind in (Kind.SYMLINK, Kind.HARDLINK):
                base = name.rpartition("/")[0] if entry.kind is Kind.SYMLINK else ""
                self._links[name] = _clean(f"{base}/{entry.target}")

    def _store(self, reader: TarReader) -> Digest:
        with self._blobs.write() as writer:
            for chunk in reader.content():
                writer.write(chunk)
            return writer.commit().digest

    def __contains__(self, name: str) -> bool:
        return _clean(name) in self._files

    def digest(self, name: str) -> Digest:
        clean = _clean(name)
        clean = self._links.get(clean, clean)  # old archives link equal layers
        if clean not in self._files:
            raise InvalidArgument(f"the archive names {name!r} and does not have it")
        return self._files[clean]

    def read_small(self, name: str) -> bytes:
        return self._blobs.read(self.digest(name), _CONFIG_LIMIT)

    def drop_all_but(self, needed: set[Digest]) -> None:
        """Remove what was stored here only to be read."""
        for digest in set(self._files.values()) - self._before - needed:
            self._blobs.remove(digest)


def _clean(name: str) -> str:
    """A member's name without ``./``, ``..`` and doubled slashes; names are only looked up."""
    return posixpath.normpath("/" + name).lstrip("/")


def _images_in(members: _Members) -> Iterator[DockerManifest]:
    if "manifest.json" in members:
        yield from _decode(members, "manifest.json", list[DockerManifest])
    elif "index.json" in members:
        index = _decode(members, "index.json", Index)
        yield from _from_index(members, index, "")


def _from_index(members: _Members, index: Index, name: str) -> Iterator[DockerManifest]:
    for entry in index.manifests:
        own = entry.annotations.get(_IMAGE_NAME) or entry.annotations.get(_REF_NAME) or name
        path = _blob_path(parse_digest(entry.digest))
        if entry.media_type in INDEX_TYPES:
            yield from _from_index(members, _decode(members, path, Index), own)
        elif path in members and not _is_attestation(entry):
            manifest = _decode(members, path, Manifest)
            yield DockerManifest(
                config=_blob_path(manifest.config.digest),
                repo_tags=(own,) if _is_name(own) else None,
                layers=tuple(_blob_path(layer.digest) for layer in manifest.layers),
            )


def _decode(members: _Members, name: str, kind: type[T]) -> T:
    try:
        return decoded(members.read_small(name), kind)
    except MALFORMED as error:
        raise InvalidArgument(f"the archive's {name} is damaged: {error}") from None


def _is_attestation(entry: Descriptor) -> bool:
    return entry.platform is not None and entry.platform.os == "unknown"


def _is_name(text: str) -> bool:
    try:
        parse_reference(text)
    except InvalidArgument:
        return False
    return ":" in text or "/" in text


def _layer_descriptor(layer: LayerRecord) -> Descriptor:
    if layer.blob is not None:
        return layer.blob
    return Descriptor(media_type=OCI_LAYER, digest=layer.diff_id, size=layer.size)


def _docker_manifest(image: Image, references: Iterable[str]) -> DockerManifest:
    return DockerManifest(
        config=_blob_path(image.id),
        repo_tags=tuple(parse_reference(name).familiar for name in references),
        layers=tuple(_blob_path(_layer_descriptor(layer).digest) for layer in image.layers),
    )


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.partition(':')[0]}/{hex_of(digest)}"


def _write_file(name: str, data: bytes, output: Callable[[bytes], None]) -> None:
    output(header(Entry(name, Kind.FILE, size=len(data))))
    output(data)
    output(padding(len(data)))
