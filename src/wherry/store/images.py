"""Images, their names and what they need, in the database; configurations are blobs.

An image needs its configuration's blob, its layers, and the blobs that the layers and the
manifests of its repository digests are in. Nothing is counted: what is needed is asked of the
tables when something is removed (docs/formats/store.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from wherry.errors import Conflict, DataCorrupt, InvalidArgument, NotFound, WherryError
from wherry.model.decoding import decoded
from wherry.model.digest import Digest, digest_of, parse_digest
from wherry.model.image import OCI_LAYER, Descriptor, ImageConfig
from wherry.model.malformed import MALFORMED
from wherry.model.reference import Reference, parse_reference
from wherry.snapshot.api import Snapshotter
from wherry.store import layers as layer_table
from wherry.store.api import Blobs, Image, LayerRecord
from wherry.store.database import Database, Row
from wherry.store.layers import Layers
from wherry.store.needs import Needs
from wherry.sys.faults import reach

_SCHEMA = [
    layer_table.SCHEMA
    + """
    CREATE TABLE image(
        id TEXT PRIMARY KEY,
        created_ns INTEGER NOT NULL,
        parent TEXT
    ) STRICT;
    CREATE TABLE image_layer(
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        position INTEGER NOT NULL,
        chain_id TEXT NOT NULL REFERENCES layer(chain_id),
        PRIMARY KEY (image, position)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX image_layer_chain ON image_layer(chain_id);
    CREATE TABLE reference(
        name TEXT PRIMARY KEY,
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX reference_image ON reference(image);
    CREATE TABLE repo_digest(
        name TEXT NOT NULL,
        image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
        manifest TEXT NOT NULL,
        PRIMARY KEY (name, image)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX repo_digest_image ON repo_digest(image);
    """
]
_HEX = frozenset("0123456789abcdef")

Rows = list[Row]
Chains = list[Digest]


class ImageStore:
    """The Images of an engine."""

    def __init__(self, db: Database, blobs: Blobs, snapshotter: Snapshotter) -> None:
        """Cleans up after a crash: half-unpacked layers are removed."""
        db.migrate("images", _SCHEMA)
        self._db = db
        self._blobs = blobs
        self._snapshotter = snapshotter
        self._needs = Needs(db, blobs)
        self._layers = Layers(db, blobs, snapshotter, self._protect)
        self._configs: dict[Digest, ImageConfig] = {}
        self._lock = threading.RLock()  # of the leases and of what removes
        self._leases = 0
        self._protected: set[Digest] = set()
        self._clean_up()

    def _clean_up(self) -> None:
        known = {row[0] for row in self._db.query("SELECT chain_id FROM layer")}
        doomed = [
            info.key
            for info in self._snapshotter.list()
            if info.key.startswith(layer_table.TEMPORARY)
            or (info.kind == "committed" and info.key not in known)
        ]
        for key in reversed(doomed):  # the youngest first, so that parents come after children
            try:
                self._snapshotter.remove(key)
            except Conflict:
                continue

    # --- images and names ----------------------------------------------------------------------

    def add(
        self,
        config_json: bytes,
        layers: Iterable[LayerRecord],
        *,
        references: Iterable[Reference] = (),
        repo_digest: Reference | None = None,
        parent: Digest | None = None,
    ) -> Image:
        """See :class:`wherry.store.api.Images`."""
        config = _decode(config_json)
        records = tuple(layers)
        _check_layers(config, records)
        with self.lease():
            image_id = self._blobs.put(config_json)
            with self._db.transaction():
                self._insert_image(image_id, records, parent)
                for reference in references:
                    self._set_reference(image_id, reference)
                if repo_digest is not None:
                    self._add_repo_digest(image_id, repo_digest)
            reach("image.recorded")
        return self.get(image_id)

    def _insert_image(
        self, image_id: Digest, records: tuple[LayerRecord, ...], parent: Digest | None
    ) -> None:
        for record in records:
            self._set_blob(record)
        added = self._db.execute(
            "INSERT INTO image(id, created_ns, parent) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            image_id, time.time_ns(), parent,
        )  # fmt: skip
        if added:
            self._db.execute_many(
                "INSERT INTO image_layer(image, position, chain_id) VALUES (?, ?, ?)",
                [(image_id, number, record.chain_id) for number, record in enumerate(records)],
            )

    def _set_blob(self, record: LayerRecord) -> None:
        if self._layers.find(record.chain_id) is None:
            raise NotFound(f"the layer {record.diff_id} has not been unpacked")
        blob = record.blob or self._uncompressed(record)
        if blob is not None:
            self._db.execute(
                "UPDATE layer SET media_type = ?, blob = ?, blob_size = ? "
                "WHERE chain_id = ? AND blob IS NULL",
                blob.media_type, blob.digest, blob.size, record.chain_id,
            )  # fmt: skip

    def _uncompressed(self, record: LayerRecord) -> Descriptor | None:
        """A layer that came uncompressed (`docker load`) may be in the blob store as it is."""
        if not self._blobs.has(record.diff_id):
            return None
        return Descriptor(media_type=OCI_LAYER, digest=record.diff_id, size=record.size)

    def get(self, name_or_id: str) -> Image:
        """See :class:`wherry.store.api.Images`."""
        return self._load(self._find(name_or_id))

    def _find(self, text: str) -> Digest:
        found = self._find_by_id(text) or self._find_by_reference(text)
        if found is None:
            raise _no_such_image(text)
        return found

    def _find_by_id(self, text: str) -> Digest | None:
        prefix = text.removeprefix("sha256:")
        if not prefix or len(prefix) > 64 or not _HEX.issuperset(prefix):
            return None
        if len(prefix) < 64 and text == prefix and self._find_by_reference(text):
            return None  # a name comes before a short id
        rows = self._db.query(
            "SELECT id FROM image WHERE id >= ? AND id < ? LIMIT 2",
            f"sha256:{prefix}", f"sha256:{prefix}g",
        )  # fmt: skip
        if len(rows) > 1:
            raise InvalidArgument(f"the image id prefix {text!r} is ambiguous: give more of it")
        if not rows and len(prefix) == 64:
            raise NotFound(f"No such image: {text}")
        return Digest(rows[0][0]) if rows else None

    def _find_by_reference(self, text: str) -> Digest | None:
        if text.startswith("sha256:"):
            return None
        reference = parse_reference(text)
        if reference.digest is not None:
            name = f"{reference.repository}@{reference.digest}"
            row = self._db.query_one("SELECT image FROM repo_digest WHERE name = ?", name)
            return Digest(row[0]) if row else None
        row = self._db.query_one(
            "SELECT image FROM reference WHERE name = ?", str(reference.tagged())
        )
        return Digest(row[0]) if row else None

    def list(self) -> tuple[Image, ...]:
        """See :class:`wherry.store.api.Images`; the newest first."""
        with self._db.transaction() as db:
            images = db.query("SELECT id, created_ns, parent FROM image ORDER BY created_ns DESC")
            records = _grouped(
                db.query(
                    f"SELECT image, {layer_table.COLUMNS} FROM image_layer "
                    "JOIN layer USING (chain_id) ORDER BY image, position"
                )
            )
            names = _grouped(db.query("SELECT image, name FROM reference ORDER BY name"))
            digests = _grouped(db.query("SELECT image, name FROM repo_digest ORDER BY name"))
            return tuple(
                self._make(row, *(found.get(row[0], []) for found in (records, names, digests)))
                for row in images
            )

    def _load(self, image_id: Digest) -> Image:
        with self._db.transaction() as db:
            row = db.query_one("SELECT id, created_ns, parent FROM image WHERE id = ?", image_id)
            if row is None:
                raise _no_such_image(image_id)
            records = db.query(
                f"SELECT {layer_table.COLUMNS} FROM image_layer JOIN layer USING (chain_id) "
                "WHERE image = ? ORDER BY position",
                image_id,
            )
            names = db.query("SELECT name FROM reference WHERE image = ? ORDER BY name", image_id)
            digests = db.query(
                "SELECT name FROM repo_digest WHERE image = ? ORDER BY name", image_id
            )
            return self._make(row, records, names, digests)

    def _make(self, row: Row, records: Rows, names: Rows, digests: Rows) -> Image:
        """In the transaction that read the row: a removal, which deletes that first, waits for it
        before it takes the configuration away."""
        image_id, created_ns, parent = row
        return Image(
            id=Digest(image_id),
            config=self._config(Digest(image_id)),
            layers=tuple(layer_table.record_of(record) for record in records),
            references=tuple(name for (name,) in names),
            repo_digests=tuple(name for (name,) in digests),
            created_ns=created_ns,
            parent=Digest(parent) if parent else None,
        )

    def _config(self, image_id: Digest) -> ImageConfig:
        config = self._configs.get(image_id)
        if config is None:
            config = _decode(self._blobs.read(image_id))
            self._configs[image_id] = config
        return config

    def tag(self, image: Digest, reference: Reference) -> None:
        """See :class:`wherry.store.api.Images`."""
        with self._db.transaction() as db:
            if not db.query("SELECT 1 FROM image WHERE id = ?", image):
                raise _no_such_image(image)
            self._set_reference(image, reference)

    def _set_reference(self, image: Digest, reference: Reference) -> None:
        if reference.digest is not None:
            raise InvalidArgument(f"refusing to create a tag with a digest reference: {reference}")
        self._db.execute(
            "INSERT OR REPLACE INTO reference(name, image) VALUES (?, ?)",
            str(reference.tagged()), image,
        )  # fmt: skip

    def _add_repo_digest(self, image: Digest, reference: Reference) -> None:
        if reference.digest is None:
            raise InvalidArgument(f"the repository digest {reference} has no digest")
        self._db.execute(
            "INSERT OR REPLACE INTO repo_digest(name, image, manifest) VALUES (?, ?, ?)",
            f"{reference.repository}@{reference.digest}", image, reference.digest,
        )  # fmt: skip

    def untag(self, reference: Reference) -> None:
        """See :class:`wherry.store.api.Images`; a name with a digest is a repository digest."""
        if reference.digest is not None:
            name = f"{reference.repository}@{reference.digest}"
            gone = self._db.execute("DELETE FROM repo_digest WHERE name = ?", name)
        else:
            name = str(reference.tagged())
            gone = self._db.execute("DELETE FROM reference WHERE name = ?", name)
        if not gone:
            raise _no_such_image(reference.familiar)

    # --- removal -------------------------------------------------------------------------------

    def remove(self, image: Digest) -> tuple[Digest, ...]:
        """See :class:`wherry.store.api.Images`."""
        with self._lock:
            record = self._load(image)
            blobs = self._needs.blobs_of(record)
            self._db.execute("DELETE FROM image WHERE id = ?", image)
            self._configs.pop(image, None)
            reach("image.forgotten")
            removed = self._drop_layers([layer.chain_id for layer in record.layers[::-1]])
            self._drop_blobs(blobs)
        return removed

    def collect_garbage(self) -> tuple[Digest, ...]:
        """See :class:`wherry.store.api.Images`."""
        with self._lock:
            if self._leases:
                return ()
            removed = self._drop_layers(self._needs.unused_layers())
            self._drop_blobs(set(self._blobs.list()))
        return removed

    def _drop_layers(self, chain_ids: Chains) -> tuple[Digest, ...]:
        """Drop those that nothing needs; those on top come first."""
        removed = []
        for chain_id in chain_ids:
            if chain_id in self._protected or self._needs.layer_is_needed(chain_id):
                continue
            try:
                self._layers.drop(chain_id)
            except Conflict:  # a container is on top of it
                continue
            removed.append(chain_id)
        return tuple(removed)

    def _drop_blobs(self, candidates: set[Digest]) -> None:
        if self._leases:
            return  # a blob on its way to an image is in no table; the next collection takes it
        for digest in candidates - self._needs.needed_blobs():
            self._blobs.remove(digest)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """See :class:`wherry.store.api.Images`."""
        with self._lock:
            self._leases += 1
        try:
            yield
        finally:
            with self._lock:
                self._leases -= 1
                if not self._leases:
                    self._protected.clear()

    def _protect(self, chain_id: Digest) -> None:
        with self._lock:
            if self._leases:
                self._protected.add(chain_id)

    # --- layers --------------------------------------------------------------------------------

    def apply_layer(
        self, stream: BinaryIO, *, parent: Digest | None, expected_diff_id: Digest | None
    ) -> LayerRecord:
        """See :class:`wherry.store.api.Images`."""
        with self.lease():
            return self._layers.apply(stream, parent, expected_diff_id)

    def commit_layer(
        self, key: str, *, exclude: Iterable[str] = (), max_mtime: int | None = None
    ) -> LayerRecord | None:
        """See :class:`wherry.store.api.Images`."""
        with self.lease():
            return self._layers.commit(key, exclude, max_mtime)

    def changes_tar(self, key: str, *, exclude: Iterable[str] = ()) -> Iterator[bytes]:
        """See :class:`wherry.store.api.Images`."""
        return self._layers.changes(key, tuple(exclude))

    def layer_tar(self, layer: LayerRecord) -> Iterator[bytes]:
        """See :class:`wherry.store.api.Images`. DataCorrupt, at the end, if the snapshot was
        changed or is that of a foreign archive whose blob was not kept."""
        return self._layers.tar(layer)


def _decode(config_json: bytes) -> ImageConfig:
    try:
        return decoded(config_json, ImageConfig)
    except MALFORMED as error:
        raise DataCorrupt(
            f"the image configuration {digest_of(config_json)} is malformed: {error}"
        ) from error


def _check_layers(config: ImageConfig, records: tuple[LayerRecord, ...]) -> None:
    if config.rootfs.diff_ids != tuple(record.diff_id for record in records):
        raise DataCorrupt(
            f"the image configuration names {len(config.rootfs.diff_ids)} layers, and they are not "
            f"the {len(records)} that came with it"
        )


def _grouped(rows: Rows) -> dict[str, Rows]:
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(row[0], []).append(row[1:])
    return groups


def _no_such_image(text: str) -> WherryError:
    """Docker's words, which clients recognise: with a tag, and without the default domain."""
    try:
        parse_digest(text)
        return NotFound(f"No such image: {text}")
    except InvalidArgument:
        return NotFound(f"No such image: {parse_reference(text).tagged().familiar}")
