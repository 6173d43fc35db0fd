"""The cache of build steps (docs/formats/build-cache.md).

An entry says which layer a step made of a state. It does not keep that layer: where the layer is
gone, the entry counts for nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

import msgspec

from wherry.errors import NotFound
from wherry.model.decoding import decoded, learnt
from wherry.model.digest import Digest
from wherry.snapshot.api import Snapshotter
from wherry.store.api import LayerRecord
from wherry.store.database import Database

_MIGRATIONS = (
    "CREATE TABLE build_step("
    " key BLOB PRIMARY KEY,"
    " layer BLOB,"  # a LayerRecord as JSON; NULL if the step changed no file
    " created_ns INTEGER NOT NULL,"
    " used_ns INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID",
)
_VERSION = "wherry.build.v0"
"""Part of every key: it changes when the same instruction comes to mean something else."""
_USED_GRAIN_NS = 3600 * 10**9


class Hit(msgspec.Struct, frozen=True):
    """A step that was done before. ``layer`` None: it changed no file."""

    layer: LayerRecord | None


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """One step in the cache."""

    key: bytes
    layer: LayerRecord | None
    created_ns: int
    used_ns: int


def step_key(state: Digest, instruction: str, inputs: tuple[str, ...]) -> bytes:
    """What identifies a step: the state before it, the instruction as it is to be done, and the
    digests of all else that it reads."""
    fields = (_VERSION, state, instruction, inputs)
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


class BuildCache:
    """Steps that were done, in the engine's database. Safe to call from several threads."""

    def __init__(self, db: Database, snapshots: Snapshotter) -> None:
        self._db = db
        self._snapshots = snapshots
        db.migrate("build", _MIGRATIONS)

    def find(self, key: bytes) -> Hit | None:
        """The result of a step; None if it is not known or its layer is gone."""
        row = self._db.query_one("SELECT layer, used_ns FROM build_step WHERE key = ?", key)
        if not row:
            return None
        layer = decoded(row[0], LayerRecord) if row[0] else None
        if layer and not self._exists(layer):
            self._db.execute("DELETE FROM build_step WHERE key = ?", key)
            return None
        now = time.time_ns()
        if now - row[1] > _USED_GRAIN_NS:
            self._db.execute("UPDATE build_step SET used_ns = ? WHERE key = ?", now, key)
        return Hit(layer)

    def store(self, key: bytes, layer: LayerRecord | None) -> None:
        """Remember the result of a step; the last one wins."""
        now = time.time_ns()
        self._db.execute(
            "INSERT OR REPLACE INTO build_step VALUES (?, ?, ?, ?)",
            key,
            msgspec.json.encode(layer) if layer else None,
            now,
            now,
        )

    def list(self) -> tuple[Known, ...]:
        """All steps, those used last first."""
        rows = self._db.query(
            "SELECT key, layer, created_ns, used_ns FROM build_step ORDER BY used_ns DESC, key"
        )
        decode = learnt(LayerRecord).decode
        return tuple(
            Known(
                key=key,
                layer=decode(layer) if layer else None,
                created_ns=created_ns,
                used_ns=used_ns,
            )
            for key, layer, created_ns, used_ns in rows
        )

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forget some steps."""
        self._db.execute_many("DELETE FROM build_step WHERE key = ?", [(key,) for key in keys])

    def clear(self) -> int:
        """Forget everything; how many steps there were."""
        return self._db.execute("DELETE FROM build_step")

    def _exists(self, layer: LayerRecord) -> bool:
        try:
            return self._snapshots.stat(layer.chain_id).kind == "committed"
        except NotFound:
            return False
