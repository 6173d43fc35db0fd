import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.errors import DataCorrupt, InternalError, NotSupported
from wherry.store.database import Database

TABLES = ["CREATE TABLE fruit(name TEXT PRIMARY KEY, weight INTEGER) STRICT"]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(str(tmp_path / "wherry.db"))
    database.migrate("fruit", TABLES)
    yield database
    database.close()


def names(db: Database) -> list[str]:
    return [row[0] for row in db.query("SELECT name FROM fruit ORDER BY name")]


def insert_and_fail(db: Database) -> None:
    with db.transaction():
        db.execute("INSERT INTO fruit VALUES ('apple', 1)")
        raise RuntimeError


def test_a_transaction_that_raises_leaves_nothing(db: Database) -> None:
    with pytest.raises(RuntimeError):
        insert_and_fail(db)
    assert names(db) == []


def nest_and_fail(db: Database) -> None:
    with db.transaction():
        db.execute("INSERT INTO fruit VALUES ('pear', 1)")
        insert_and_fail(db)


def test_nested_transactions_are_one(db: Database) -> None:
    with pytest.raises(RuntimeError):
        nest_and_fail(db)
    assert names(db) == []


def test_constraints_are_told_to_the_caller(db: Database) -> None:
    db.execute("INSERT INTO fruit VALUES ('apple', 1)")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO fruit VALUES ('apple', 2)")
    assert db.query_one("SELECT weight FROM fruit") == (1,)


def test_what_is_committed_is_there_after_a_crash(db: Database) -> None:
    pid = os.fork()
    if pid == 0:
        other = Database(db.path)
        other.execute("INSERT INTO fruit VALUES ('kept', 1)")
        other._connection.execute("BEGIN")
        other._connection.execute("INSERT INTO fruit VALUES ('lost', 1)")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert names(db) == ["kept"]


def test_threads_share_it(db: Database) -> None:
    def add(number: int) -> None:
        for i in range(50):
            with db.transaction():
                (count,) = db.query("SELECT count(*) FROM fruit")[0]
                db.execute("INSERT INTO fruit VALUES (?, ?)", f"{number}-{i}", count)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weights = [row[0] for row in db.query("SELECT weight FROM fruit ORDER BY weight")]
    assert weights == list(range(200))


def test_migrations_run_once_and_in_order(db: Database) -> None:
    scripts = [
        *TABLES,
        "ALTER TABLE fruit ADD COLUMN colour TEXT; INSERT INTO fruit VALUES ('semi;colon', 1, 'x')",
    ]
    db.migrate("fruit", scripts)
    db.migrate("fruit", scripts)
    assert db.query("SELECT * FROM fruit") == [("semi;colon", 1, "x")]


def test_a_failed_migration_changes_nothing(db: Database) -> None:
    with pytest.raises(InternalError, match="nosuch"):
        db.migrate("fruit", [*TABLES, "CREATE TABLE more(x); INSERT INTO nosuch VALUES (1)"])
    assert db.query("SELECT name FROM sqlite_master WHERE name = 'more'") == []


def test_a_newer_database_is_refused(db: Database) -> None:
    with pytest.raises(NotSupported, match="newer Wherry"):
        db.migrate("fruit", [])


@pytest.mark.parametrize("damage", [0, 4096])
def test_a_damaged_file_is_one_sentence(db: Database, damage: int) -> None:
    db.close()
    with open(db.path, "r+b") as file:
        file.seek(damage)
        file.write(b"\xa5" * 4096)

    def use() -> None:
        again = Database(db.path)
        try:
            again.migrate("fruit", TABLES)
            again.check()
        finally:
            again.close()

    with pytest.raises(DataCorrupt, match="is damaged"):
        use()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="nosuch"):
        Database(str(tmp_path / "nosuch" / "wherry.db"))
