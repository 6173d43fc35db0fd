"""One SQLite file for everything that is neither content nor a tree of files.

The file is in WAL mode with ``synchronous=NORMAL`` (https://sqlite.org/wal.html): a commit is one
write without fsync, a crash of the engine loses nothing, a loss of power loses at most the last
transactions and never consistency. Every part keeps tables of its own and describes them with
:meth:`Database.migrate`; docs/formats/database.md lists them all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wherry.errors import DataCorrupt, InternalError, NotSupported, ResourceExhausted

Row = tuple[Any, ...]
Value = str | int | float | bytes | None

_BUSY_SECONDS = 10.0
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)
_SCHEMA = "CREATE TABLE IF NOT EXISTS migration(component TEXT PRIMARY KEY, version INTEGER) STRICT"


class Database:
    """A database that several threads share: one connection, one lock, short transactions.

    A violated constraint raises ``sqlite3.IntegrityError``, for the caller knows what it means.
    All else becomes one sentence: DataCorrupt for a damaged file, ResourceExhausted for a full
    disk, InternalError otherwise.
    """

    def __init__(self, path: str) -> None:
        """Open the file, and make it if it does not exist (mode 0600)."""
        self.path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._sentences():
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            connection.execute(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection

    def migrate(self, component: str, scripts: Sequence[str]) -> None:
        """Bring the tables of one component up to date, in one transaction.

        Script number n (from 1) makes version n of version n-1, and may hold several statements;
        released scripts never change, new ones are appended. NotSupported if the file was written
        by a newer engine.
        """
        with self.transaction():
            rows = self.query("SELECT version FROM migration WHERE component = ?", component)
            version = rows[0][0] if rows else 0
            if version > len(scripts):
                raise NotSupported(
                    f"the database {self.path} was written by a newer Wherry ({component} has "
                    f"version {version}, this one knows {len(scripts)}): use that one"
                )
            for script in scripts[version:]:
                self._run_script(script)
            self.execute("INSERT OR REPLACE INTO migration VALUES (?, ?)", component, len(scripts))

    def _run_script(self, script: str) -> None:
        # Not executescript(): that one commits the transaction it is in.
        statement = ""
        for part in script.split(";"):
            statement += part + ";"
            if sqlite3.complete_statement(statement):
                if statement.strip(" \n;"):
                    self.execute(statement)
                statement = ""

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        """All or nothing: what the block executes is committed at its end, or not at all.

        Blocks in the same thread nest, the outermost one decides. Other threads wait, so no slow
        work belongs in here.
        """
        with self._lock:
            if self._depth:
                yield self
                return
            with self._sentences():
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield self
                with self._sentences():
                    self._connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._depth = 0

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk makes SQLite roll back by itself
            with self._sentences():
                self._connection.execute("ROLLBACK")

    def query(self, sql: str, *values: Value) -> list[Row]:
        """All rows of a SELECT."""
        with self._lock, self._sentences():
            return self._connection.execute(sql, values).fetchall()

    def query_one(self, sql: str, *values: Value) -> Row | None:
        """The first row of a SELECT, None without one."""
        with self._lock, self._sentences():
            row: Row | None = self._connection.execute(sql, values).fetchone()
            return row

    def execute(self, sql: str, *values: Value) -> int:
        """Run one statement that changes something; how many rows it changed.

        Outside of a transaction it is one of its own.
        """
        with self._lock, self._sentences():
            return self._connection.execute(sql, values).rowcount

    def insert(self, sql: str, *values: Value) -> int:
        """Run one INSERT; the row id it made."""
        with self._lock, self._sentences():
            return self._connection.execute(sql, values).lastrowid or 0

    def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each row, all in one transaction."""
        with self.transaction(), self._sentences():
            self._connection.executemany(sql, rows)

    def check(self) -> None:
        """Read the whole file; DataCorrupt names the first thing that is wrong in it."""
        found = self.query("PRAGMA integrity_check(1)")
        if found[0][0] != "ok":
            raise DataCorrupt(f"the database {self.path} is damaged: {found[0][0].strip()}")

    def close(self) -> None:
        """Fold the log into the file and close it. Idempotent."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise self._translate(error) from error
        except OSError as error:
            raise InternalError(f"cannot open the database {self.path}: {error}") from error

    def _translate(self, error: sqlite3.Error) -> Exception:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary in _DAMAGED:
            return DataCorrupt(
                f"the database {self.path} is damaged ({error}): run `wherry system fsck "
                f"--data-root {os.path.dirname(self.path)} --repair`, or restore it from a copy"
            )
        if primary == sqlite3.SQLITE_FULL:
            return ResourceExhausted(f"cannot write to {self.path}: no space left on device")
        return InternalError(f"the database {self.path} failed: {error}")
