"""Where to begin in which files of a log."""

from __future__ import annotations

from typing import IO

from wherry.runtime.logs.parsing import LogFormat, LogRecord, Place, single_lines


def starts(
    log_format: LogFormat, files: list[IO[bytes]], tail: int | None
) -> list[tuple[IO[bytes], Place]]:
    """Where the last ``tail`` lines begin (None: all) in ``files``, which are newest first; the
    answer is oldest first, without files that are not needed."""
    if tail is None:
        return [(file, Place(log_format.start, 0)) for file in reversed(files)]
    found: list[tuple[IO[bytes], Place]] = []
    for file in files:
        if tail <= 0:
            break
        place, tail = _tail(log_format, file.fileno(), tail)
        found.append((file, place))
    return found[::-1]


def _tail(log_format: LogFormat, fd: int, wanted: int) -> tuple[Place, int]:
    """Where the last ``wanted`` lines of a file begin, and how many it lacks."""
    for offset, lines in log_format.backward(fd, log_format.end(fd)):
        if lines >= wanted:
            return Place(offset, lines - wanted), 0
        wanted -= lines
    return Place(log_format.start, 0), wanted


def without_first(records: list[LogRecord], skip: int) -> list[LogRecord]:
    """Leave out so many lines."""
    if not skip:
        return records
    return [line for record in records for line in single_lines(record)][skip:]
