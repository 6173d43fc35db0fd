"""Where the data of sparse files lies."""

from __future__ import annotations

import errno
import os

Pieces = list[tuple[int, int]]
"""Offset and length of each, in order."""


def has_holes(status: os.stat_result) -> bool:
    """Whether fewer bytes are allocated than the file is long."""
    return status.st_blocks * 512 < status.st_size


def data_pieces(fd: int, size: int, most: int = 1_000_000) -> Pieces:
    """What of a file's first ``size`` bytes is data (lseek(2), SEEK_DATA). All of it, if the file
    system does not tell, or if there are more pieces than ``most``."""
    found: Pieces = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                break
            return [(0, size)]
        if start < size:
            found.append((start, at - start))
        if len(found) > most:
            return [(0, size)]
    return found
