"""What can still be read of a damaged database, in a new one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress

_PARTS = ("", "-wal", "-shm")
_BATCH = 256


def salvage(path: str) -> str:
    """Put a new database with every row that can be read in the place of a damaged one.

    Tables are read from both ends up to the damage. Rows that refer to lost ones are left out, so
    that the new file is consistent. Returns where the damaged file is now; nothing of it is
    deleted.
    """
    aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
    for part in _PARTS:
        with suppress(FileNotFoundError):
            os.rename(path + part, aside + part)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with (
        closing(sqlite3.connect(aside, isolation_level=None)) as old,
        closing(sqlite3.connect(path, isolation_level=None)) as new,
    ):
        new.execute("BEGIN")
        for name, statement in _schema(old, "table"):
            new.execute(statement)
            _copy(old, new, name)
        for _, statement in _schema(old, "index"):
            with suppress(sqlite3.IntegrityError):
                new.execute(statement)
        _drop_dangling(new)
        new.execute("COMMIT")
    return aside


def _schema(old: sqlite3.Connection, kind: str) -> list[tuple[str, str]]:
    """Names and statements; empty if not even those can be read."""
    with suppress(sqlite3.DatabaseError):
        return old.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = ? AND sql IS NOT NULL "
            "AND name NOT LIKE 'sqlite_%'",
            (kind,),
        ).fetchall()
    return []


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    for order in ("ASC", "DESC"):
        if _copy_until_damage(old, new, table, order):
            return


def _copy_until_damage(
    old: sqlite3.Connection, new: sqlite3.Connection, table: str, order: str
) -> bool:
    """False if the table could not be read to its end."""
    try:
        found = old.execute(f'SELECT * FROM "{table}" ORDER BY {_key(old, table)} {order}')
        for rows in _batches(found):
            marks = ", ".join("?" * len(rows[0]))
            new.executemany(f'INSERT OR IGNORE INTO "{table}" VALUES ({marks})', rows)
    except sqlite3.DatabaseError:
        return False
    return True


def _key(old: sqlite3.Connection, table: str) -> str:
    """What a table is sorted by on disk: any other order would read it all first."""
    columns = old.execute(f'PRAGMA table_info("{table}")').fetchall()
    (without_rowid,) = old.execute(
        "SELECT wr FROM pragma_table_list WHERE name = ?", (table,)
    ).fetchone()
    keys = sorted((column[5], column[1]) for column in columns if column[5])
    return f'"{keys[0][1]}"' if without_rowid else "rowid"


def _batches(found: sqlite3.Cursor) -> Iterator[Sequence[tuple[object, ...]]]:
    """The rows up to the damage, then sqlite3.DatabaseError."""
    rows: list[tuple[object, ...]] = []
    try:
        for row in found:
            rows.append(row)
            if len(rows) == _BATCH:
                yield rows
                rows = []
    except sqlite3.DatabaseError:
        if rows:
            yield rows
        raise
    if rows:
        yield rows


def _drop_dangling(new: sqlite3.Connection) -> None:
    """Remove rows that refer to lost ones, and those that refer to them."""
    while dangling := new.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, _, number in dangling:
            if rowid is not None:
                new.execute(f'DELETE FROM "{table}" WHERE rowid = ?', (rowid,))
            else:
                _drop_dangling_of(new, table, number)


def _drop_dangling_of(new: sqlite3.Connection, table: str, number: int) -> None:
    """In a table without row ids."""
    keys = new.execute(f'PRAGMA foreign_key_list("{table}")').fetchall()
    _, _, parent, own, other, *_ = next(key for key in keys if key[0] == number)
    new.execute(f'DELETE FROM "{table}" WHERE "{own}" NOT IN (SELECT "{other}" FROM "{parent}")')
