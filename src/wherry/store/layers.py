"""Layers: from a tar stream to a committed snapshot and back."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO
from uuid import uuid4

from wherry.errors import DataCorrupt, NotFound, WherryError
from wherry.fs.compress import Decompressed
from wherry.fs.remove import empty_directory
from wherry.fs.streams import CHUNK, Ahead, HashingStream, batched, read_all
from wherry.fs.tar.layer import apply_layer
from wherry.fs.tar.pack import pack_layer
from wherry.fs.tar.settle import settle
from wherry.model.digest import Digest
from wherry.model.image import Descriptor, chain_ids
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Blobs, LayerRecord
from wherry.store.database import Database, Row
from wherry.sys.faults import reach

TEMPORARY = "unpack-"
"""Begins the keys of snapshots that belong to nobody after a crash."""

SCHEMA = """
    CREATE TABLE layer(
        chain_id TEXT PRIMARY KEY,
        diff_id TEXT NOT NULL,
        parent TEXT,
        size INTEGER NOT NULL,
        media_type TEXT,
        blob TEXT,
        blob_size INTEGER
    ) STRICT;
    CREATE INDEX layer_parent ON layer(parent);
    CREATE INDEX layer_blob ON layer(blob);
"""
COLUMNS = "diff_id, chain_id, size, media_type, blob, blob_size"


def record_of(row: Row) -> LayerRecord:
    """A layer from its :data:`COLUMNS`."""
    diff_id, chain_id, size, media_type, blob, blob_size = row
    descriptor = (
        Descriptor(media_type=media_type, digest=Digest(blob), size=blob_size) if blob else None
    )
    return LayerRecord(
        diff_id=Digest(diff_id), chain_id=Digest(chain_id), size=size, blob=descriptor
    )


def chain_on(parent: Digest | None, diff_id: Digest) -> Digest:
    """The chain id of a layer on top of the chain ``parent``."""
    return chain_ids((parent, diff_id))[-1] if parent else diff_id


class Layers:
    """Makes snapshots of layers and layers of snapshots; its table tells which there are."""

    def __init__(
        self,
        db: Database,
        blobs: Blobs,
        trees: Snapshotter,
        protect: Callable[[Digest], None],
    ) -> None:
        """``protect`` is told of every chain that is used or made, before it is."""
        self._db = db
        self._protect = protect
        self._blobs = blobs
        self._trees = trees

    def find(self, chain_id: Digest) -> LayerRecord | None:
        """The layer at the top of a chain, if it is here."""
        row = self._db.query_one(f"SELECT {COLUMNS} FROM layer WHERE chain_id = ?", chain_id)
        return record_of(row) if row else None

    def apply(
        self, stream: BinaryIO, parent: Digest | None, expected: Digest | None
    ) -> LayerRecord:
        """See :meth:`wherry.store.api.Images.apply_layer`."""
        hashing = HashingStream(stream)
        known = self._known(parent, expected)
        if known is not None:
            read_all(hashing, lambda data: None)
            _verify(hashing.digest, expected)
            return known
        with self._temporary(parent) as key:
            self._unpack(hashing, key, parent)
            reach("layer.unpacked")
            if expected is None:
                return self._commit(key, parent, *self._measure(key, parent))
            _verify(hashing.digest, expected)
            return self._commit(key, parent, hashing.digest, hashing.size)

    def _unpack(self, stream: HashingStream, key: str, parent: Digest | None) -> None:
        with ExitStack() as stack, Ahead(stream) as ahead:
            upper = _open(stack, self._trees.changes_dir(key))
            apply_layer(ahead, upper, self._open_below(stack, parent))

    def _known(self, parent: Digest | None, expected: Digest | None) -> LayerRecord | None:
        if expected is None:
            return None
        chain_id = chain_on(parent, expected)
        self._protect(chain_id)
        return self.find(chain_id)

    def commit(
        self, key: str, exclude: Iterable[str], max_mtime: int | None = None
    ) -> LayerRecord | None:
        """See :meth:`wherry.store.api.Images.commit_layer`."""
        parent = self._parent_of(key)
        with ExitStack() as stack:
            settle(_open(stack, self._trees.changes_dir(key)), tuple(exclude), max_mtime)
        reach("layer.settled")
        diff_id, size = self._measure(key, parent)
        if not size:
            self._trees.remove(key)
            return None
        return self._commit(key, parent, diff_id, size)

    def _measure(self, key: str, parent: Digest | None) -> tuple[Digest, int]:
        """The digest and the size of the tar stream that a snapshot's changes make."""
        hasher = hashlib.sha256()
        size = 0
        with ExitStack() as stack:
            upper = _open(stack, self._trees.changes_dir(key))
            for data in batched(pack_layer(upper, self._open_below(stack, parent))):
                hasher.update(data)
                size += len(data)
        return Digest("sha256:" + hasher.hexdigest()), size

    def changes(self, key: str, exclude: Collection[str] = ()) -> Iterator[bytes]:
        """The tar stream of what an active snapshot changes, as a layer; empty if nothing."""
        with ExitStack() as stack:
            upper = _open(stack, self._trees.changes_dir(key))
            lower = self._open_below(stack, self._parent_of(key))
            yield from batched(pack_layer(upper, lower, exclude=exclude))

    def tar(self, layer: LayerRecord) -> Iterator[bytes]:
        """See :meth:`wherry.store.api.Images.layer_tar`."""
        chunks = self._stored(layer) if layer.blob is not None else self._packed(layer)
        hasher = hashlib.sha256()
        for data in chunks:
            hasher.update(data)
            yield data
        if f"sha256:{hasher.hexdigest()}" != layer.diff_id:
            raise DataCorrupt(
                f"the layer {layer.diff_id} cannot be made again from its files: they were changed"
            )

    def _stored(self, layer: LayerRecord) -> Iterator[bytes]:
        assert layer.blob is not None
        with self._blobs.open(layer.blob.digest) as file:
            content = Decompressed(file)
            while data := content.read(CHUNK):
                yield data

    def _packed(self, layer: LayerRecord) -> Iterator[bytes]:
        return self.changes(layer.chain_id)

    def drop(self, chain_id: Digest) -> None:
        """Forget a layer and remove its snapshot. Conflict while something is on top of it."""
        try:
            self._trees.remove(chain_id)
        except NotFound:
            pass  # a crash came between the two
        self._db.execute("DELETE FROM layer WHERE chain_id = ?", chain_id)

    def _parent_of(self, key: str) -> Digest | None:
        parent = self._trees.stat(key).parent
        return Digest(parent) if parent is not None else None

    def _open_below(self, stack: ExitStack, parent: Digest | None) -> int | None:
        if parent is None:
            return None
        fd = self._trees.open_root(parent)
        stack.callback(os.close, fd)
        return fd

    @contextmanager
    def _temporary(self, parent: Digest | None) -> Iterator[str]:
        """An active snapshot to be committed; after an error it is gone."""
        key = f"{TEMPORARY}{uuid4().hex}"
        self._trees.prepare(key, parent)
        try:
            yield key
        except BaseException:
            self._discard(key)
            raise

    def _discard(self, key: str) -> None:
        """Take away what was unpacked. Its files go first and at once, for on a full disk not even
        the database can be written to before there is room again."""
        try:
            fd = os.open(self._trees.changes_dir(key), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                empty_directory(fd)
            finally:
                os.close(fd)
            self._trees.remove(key)
        except (OSError, WherryError):
            pass  # the error that led here is the one to tell; the next start finds the key

    def _commit(self, key: str, parent: Digest | None, diff_id: Digest, size: int) -> LayerRecord:
        chain_id = chain_on(parent, diff_id)
        self._protect(chain_id)
        self._trees.commit(key, chain_id)
        reach("layer.committed")
        # A crash here leaves a snapshot without a layer, which the next start removes.
        self._db.execute(
            "INSERT INTO layer(chain_id, diff_id, parent, size) VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            chain_id, diff_id, parent, size,
        )  # fmt: skip
        reach("layer.recorded")
        found = self.find(chain_id)
        assert found is not None
        return found


def _open(stack: ExitStack, directory: str) -> int:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _verify(found: Digest, expected: Digest | None) -> None:
    if expected is not None and found != expected:
        raise DataCorrupt(f"the layer has the diff id {found} where {expected} was expected")
