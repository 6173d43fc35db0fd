"""What images need, asked of the tables when something is to be removed."""

from __future__ import annotations

import msgspec

from wherry.errors import DataCorrupt, NotFound
from wherry.model.decoding import decoded
from wherry.model.digest import Digest
from wherry.model.malformed import MALFORMED
from wherry.store.api import Blobs, Image
from wherry.store.database import Database


class _Pointer(msgspec.Struct):
    digest: Digest


class _Listing(msgspec.Struct):
    """As much of a manifest or an index as tells what it points to."""

    manifests: tuple[_Pointer, ...] = ()
    layers: tuple[_Pointer, ...] = ()
    config: _Pointer | None = None


class Needs:
    """Answers which layers and blobs are in use."""

    def __init__(self, db: Database, blobs: Blobs) -> None:
        self._db = db
        self._blobs = blobs

    def layer_is_needed(self, chain_id: Digest) -> bool:
        """By an image, or by a layer on top of it."""
        (needed,) = self._db.query(
            "SELECT EXISTS(SELECT 1 FROM image_layer WHERE chain_id = ?1) "
            "OR EXISTS(SELECT 1 FROM layer WHERE parent = ?1)",
            chain_id,
        )[0]
        return bool(needed)

    def unused_layers(self) -> list[Digest]:
        """Layers of no image, those on top of others first."""
        rows = self._db.query(
            "WITH RECURSIVE depth(chain_id, n) AS ("
            "  SELECT chain_id, 1 FROM layer WHERE parent IS NULL UNION ALL"
            "  SELECT layer.chain_id, n + 1 FROM layer JOIN depth ON layer.parent = depth.chain_id"
            ") SELECT chain_id FROM depth "
            "WHERE chain_id NOT IN (SELECT chain_id FROM image_layer) ORDER BY n DESC"
        )
        return [Digest(chain_id) for (chain_id,) in rows]

    def blobs_of(self, image: Image) -> set[Digest]:
        """All blobs that an image may have brought with it."""
        found = {image.id}
        found.update(layer.blob.digest for layer in image.layers if layer.blob is not None)
        for name in image.repo_digests:
            found |= self._manifest_tree(Digest(name.partition("@")[2]))
        return found

    def needed_blobs(self) -> set[Digest]:
        """All blobs that some image or layer needs."""
        rows = self._db.query(
            "SELECT id FROM image UNION SELECT blob FROM layer WHERE blob IS NOT NULL"
        )
        found = {Digest(digest) for (digest,) in rows}
        for (manifest,) in self._db.query("SELECT DISTINCT manifest FROM repo_digest"):
            found |= self._manifest_tree(Digest(manifest))
        return found

    def _manifest_tree(self, digest: Digest) -> set[Digest]:
        """A manifest or index and all that it points to."""
        found = {digest}
        try:
            listing = decoded(self._blobs.read(digest), _Listing)
        except (NotFound, DataCorrupt, *MALFORMED):
            return found
        found.update(layer.digest for layer in listing.layers)
        if listing.config is not None:
            found.add(listing.config.digest)
        for manifest in listing.manifests:
            if manifest.digest not in found:
                found |= self._manifest_tree(manifest.digest)
        return found
