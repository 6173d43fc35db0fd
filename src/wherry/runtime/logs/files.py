"""The files of one log: the current one, those put aside, and those compressed."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from io import BytesIO
from typing import IO

from wherry.runtime.logs.parsing import LogFormat

_ATTEMPTS = 10
_BEGINNING = 128 * 1024  # bytes that hold the first record of a file


def open_all(path: str) -> list[IO[bytes]]:
    """All files of a log, newest first, each once. The compressed ones are unpacked into unnamed
    files."""
    for _ in range(_ATTEMPTS):
        files = _open_numbered(path)
        if not files or is_at(path, files[0]):
            return files
        close_all(files)  # they were renamed meanwhile
    return _open_numbered(path)


def _open_numbered(path: str) -> list[IO[bytes]]:
    files: list[IO[bytes]] = []
    number = 0
    while True:
        file = open_one(f"{path}.{number}" if number else path)
        if file is None and number:
            return files
        if file is not None:
            files.append(file)
        number += 1


def is_at(path: str, file: IO[bytes]) -> bool:
    """Whether a file is the one that is there now."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def close_all(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()


def open_one(path: str) -> IO[bytes] | None:
    """A file of a log, plain or compressed; None if there is none."""
    return _open_plain(path) or _unpacked(path)


def _open_plain(path: str) -> IO[bytes] | None:
    try:
        return open(path, "rb", buffering=0)
    except FileNotFoundError:
        return None


def _unpacked(path: str, size: int = -1) -> IO[bytes] | None:
    """The first ``size`` bytes (-1: all) of a compressed file."""
    unpacked = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        with gzip.open(f"{path}.gz", "rb") as packed:
            source = packed if size < 0 else BytesIO(packed.read(size))
            shutil.copyfileobj(source, unpacked)
    except FileNotFoundError:
        unpacked.close()
        return None
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def first_time(log_format: LogFormat, file: IO[bytes]) -> int:
    """When the first record of a file was written; 0 if it has none."""
    for records, _ in log_format.forward(file.fileno(), log_format.start):
        for record in records:
            return record.time_ns
    return 0


def newer_files(path: str, log_format: LogFormat, file: IO[bytes]) -> list[IO[bytes]]:
    """The files of a log that are newer than ``file``, oldest first.

    Those are all that are left, if it was removed meanwhile. A compressed file is recognised by
    its first record.
    """
    newer: list[IO[bytes]] = []
    mine = first_time(log_format, file)
    number = 0
    while found := _open_newer(f"{path}.{number}" if number else path, log_format, file, mine):
        newer.insert(0, found)
        number += 1
    return newer


def _open_newer(path: str, log_format: LogFormat, file: IO[bytes], mine: int) -> IO[bytes] | None:
    """A file if it is newer than ``file``, whose first record is of the time ``mine``."""
    plain = _open_plain(path)
    beginning = plain or _unpacked(path, _BEGINNING)
    if beginning is None:
        return None
    at = first_time(log_format, beginning)
    same = os.path.samestat(os.fstat(beginning.fileno()), os.fstat(file.fileno()))
    if same or 0 < at < mine or (plain is None and at == mine):
        beginning.close()
        return None
    if plain is not None:
        return plain
    beginning.close()
    return _unpacked(path)
