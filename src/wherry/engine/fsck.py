"""Checks a data root while no engine uses it, and repairs what can be repaired.

The database comes first: of a damaged one, what can be read is kept. Then what it tells is compared
with what is on disk: volumes, blobs, layers and images, containers. Nothing that cannot be made
again is deleted: a damaged database is moved aside, and a volume is recorded again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from wherry.engine.records import Container
from wherry.engine.table import ContainerTable
from wherry.errors import DataCorrupt, NotFound, WherryError
from wherry.fs.compress import Decompressed
from wherry.model.digest import Digest
from wherry.model.image import Manifest
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.api import Image, LayerRecord
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore
from wherry.store.salvage import salvage
from wherry.volume.local import LocalVolumes

_MANIFEST_LIMIT = 4 * 1024 * 1024  # bytes, as for what a registry sends


@dataclass(frozen=True)
class Finding:
    """Something that is wrong. ``mended``: not any more."""

    text: str
    mended: bool


def check_data_root(data_root: str, *, repair: bool) -> Iterator[Finding]:
    """What is wrong with a data root, and with ``repair`` what became of it.

    The caller holds the root's lock. NotFound if there is no database.
    """
    path = os.path.join(data_root, "wherry.db")
    if not os.path.exists(path):
        if not os.path.isdir(os.path.join(data_root, "volumes")):
            raise NotFound(f"{data_root} is no data root: it has no database and no volumes")
        yield Finding(f"the database {path} is missing", repair)
    elif damage := _damage(path):
        yield Finding(_told(damage, salvage(path)) if repair else damage, repair)
    if not repair and (damage or not os.path.exists(path)):
        return  # nothing can be compared with it
    db = Database(path)
    try:
        yield from _Comparison(data_root, db, repair).run()
    finally:
        db.close()


def _told(damage: str, aside: str) -> str:
    return f"{damage.partition(': run ')[0]}: it is now {aside}, and what could be read was kept"


def _damage(path: str) -> str:
    """What is wrong with the file; empty if nothing is."""
    try:
        db = Database(path)
    except WherryError as error:
        return str(error)
    try:
        db.check()
    except WherryError as error:
        return str(error)
    finally:
        db.close()
    return ""


class _Comparison:
    """Compares a database that is sound with what is on disk."""

    def __init__(self, data_root: str, db: Database, repair: bool) -> None:
        self._root = data_root
        self._db = db
        self._repair = repair
        self._blobs = BlobStore(os.path.join(data_root, "blobs"))

    def run(self) -> Iterator[Finding]:
        for find in (self._volumes, self._damaged_blobs, self._layers, self._configurations):
            yield from find()
        yield from self._containers()
        yield from self._lost_images()

    def _has(self, table: str) -> bool:
        return bool(self._db.query("SELECT 1 FROM sqlite_master WHERE name = ?", table))

    def _mend(self, text: str, action: Callable[[], object]) -> Finding:
        if self._repair:
            action()
        return Finding(text, self._repair)

    def _volumes(self) -> Iterator[Finding]:
        place = os.path.join(self._root, "volumes")
        known = self._column("volume", "name")
        for name in sorted(_names(place) - known):
            if _names(os.path.join(place, name, "_data")):
                yield Finding(f"the volume {name} is not in the database", self._repair)
        for name in sorted(known - _names(place)):
            yield Finding(f"the content of the volume {name} is lost", self._repair)
        if self._repair:
            LocalVolumes(place, self._db)  # which records what it finds

    def _column(self, table: str, column: str) -> set[str]:
        if not self._has(table):
            return set()
        return {row[0] for row in self._db.query(f"SELECT {column} FROM {table}")}

    def _damaged_blobs(self) -> Iterator[Finding]:
        for digest in list(self._blobs.list()):
            try:
                self._blobs.verify(digest)
            except DataCorrupt as error:
                yield self._mend(str(error), partial(self._drop_blob, digest))

    def _drop_blob(self, digest: Digest) -> None:
        """A layer can do without: its stream is made again from its files."""
        self._blobs.remove(digest)
        if self._has("layer"):
            self._db.execute(
                "UPDATE layer SET blob = NULL, blob_size = NULL, media_type = NULL WHERE blob = ?",
                digest,
            )

    def _layers(self) -> Iterator[Finding]:
        numbers = self._numbers("committed")
        for chain_id in sorted(self._column("layer", "chain_id")):
            if chain_id not in numbers:
                text = f"the files of the layer {chain_id} are lost, and so are images with it"
                yield self._mend(text, partial(self._drop_layer, chain_id))

    def _numbers(self, kind: str) -> dict[str, int]:
        """Key and number of the snapshots that are on disk."""
        if not self._has("snapshot"):
            return {}
        rows = self._db.query("SELECT key, number FROM snapshot WHERE kind = ?", kind)
        place = os.path.join(self._root, "snapshots")
        return {key: n for key, n in rows if os.path.isdir(f"{place}/{n}/fs")}

    def _drop_layer(self, chain_id: str) -> None:
        """With the images that have it, and the layers and containers on top of it."""
        with self._db.transaction() as db:
            for (above,) in db.query("SELECT chain_id FROM layer WHERE parent = ?", chain_id):
                self._drop_layer(above)
            for (key,) in db.query(
                "SELECT key FROM snapshot WHERE parent = ? AND kind = 'active'", chain_id
            ):
                self._drop_container(key)
            db.execute(
                "DELETE FROM image WHERE id IN (SELECT image FROM image_layer WHERE chain_id = ?)",
                chain_id,
            )
            db.execute("DELETE FROM layer WHERE chain_id = ?", chain_id)
            db.execute("DELETE FROM snapshot WHERE key = ?", chain_id)

    def _configurations(self) -> Iterator[Finding]:
        for image in sorted(self._column("image", "id")):
            if not self._blobs.has(Digest(image)):
                text = f"the configuration of the image {image} is lost: pull or build it again"
                yield self._mend(text, partial(self._drop_image, image))

    def _drop_image(self, image: str) -> None:
        self._db.execute("DELETE FROM image WHERE id = ?", image)

    def _containers(self) -> Iterator[Finding]:
        if not self._has("containers"):
            return
        layers = self._numbers("active")
        for key, blob in self._db.query("SELECT id, record FROM containers"):
            drop = partial(self._drop_container, key)
            try:
                record = msgspec.json.decode(blob, type=Container)
            except msgspec.DecodeError:
                yield self._mend(f"the record of the container {key[:12]} is not readable", drop)
                continue
            if key not in layers:
                yield self._mend(f"the files of the container {record.name} are lost", drop)
                continue
            place = os.path.join(self._root, "containers", key)
            if not os.path.isdir(place):
                text = f"the log of the container {record.name} is lost"
                yield self._mend(text, partial(os.makedirs, place, 0o710))

    def _drop_container(self, key: str) -> None:
        with self._db.transaction() as db:
            if self._has("containers"):
                db.execute("DELETE FROM containers WHERE id = ?", key)
            db.execute("DELETE FROM snapshot WHERE key = ?", key)
            if self._has("volume_use"):
                db.execute("DELETE FROM volume_use WHERE container = ?", key)

    def _lost_images(self) -> Iterator[Finding]:
        """Images of which everything is there but the record: they were pulled."""
        known = self._column("image", "id")
        for manifest in self._manifests():
            image = manifest.config.digest
            if image in known or not self._is_complete(manifest):
                continue
            known.add(image)
            text = f"the image {image} is not in the database, and everything else of it is here"
            yield self._mend(text, partial(self._restore, manifest))

    def _manifests(self) -> Iterator[Manifest]:
        for digest in list(self._blobs.list()):
            if self._blobs.size(digest) <= _MANIFEST_LIMIT:
                try:
                    yield msgspec.json.decode(self._blobs.read(digest), type=Manifest)
                except (msgspec.MsgspecError, WherryError, ValueError):
                    continue  # it is something else

    def _is_complete(self, manifest: Manifest) -> bool:
        wanted = [manifest.config, *manifest.layers]
        return all(self._blobs.has(one.digest) for one in wanted)

    def _restore(self, manifest: Manifest) -> Image:
        """Unpack the layers again. Its names are lost, but for its id."""
        snapshots = OverlaySnapshotter(os.path.join(self._root, "snapshots"), self._db)
        try:
            ContainerTable(self._db)  # its table, before anything looks for what is in use
            images = ImageStore(self._db, self._blobs, snapshots)
            with images.lease():
                return _unpack(images, self._blobs, manifest)
        finally:
            snapshots.close()


def _unpack(images: ImageStore, blobs: BlobStore, manifest: Manifest) -> Image:
    records: list[LayerRecord] = []
    for layer in manifest.layers:
        with blobs.open(layer.digest) as file:
            below = records[-1].chain_id if records else None
            content: Any = Decompressed(file)  # which has read(), all that is needed
            made = images.apply_layer(content, parent=below, expected_diff_id=None)
        records.append(msgspec.structs.replace(made, blob=layer))
    return images.add(blobs.read(manifest.config.digest), records)


def _names(directory: str) -> set[str]:
    try:
        return set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return set()
