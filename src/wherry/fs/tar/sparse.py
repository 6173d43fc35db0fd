"""Where the pieces of a sparse file lie (GNU tar manual, "Storing Sparse Files").

Four forms: the old GNU header with its extension blocks, and pax 0.0 (repeated records), 0.1 (one
record with a list) and 1.0 (a list in front of the content).
"""

from __future__ import annotations

from collections.abc import Callable

from wherry.fs.tar import numbers, pax
from wherry.fs.tar.entry import BLOCK, BadArchive, Limits

_OLD_MAP = 386  # offset of the four pieces in an old GNU header
_OLD_MORE = 482
_OLD_SIZE = slice(483, 495)
_PIECE = 24


class SparseMaps:
    """Collects what the headers of one entry say about its pieces."""

    def __init__(self) -> None:
        self.present = False
        self.in_content = False
        self.name: str | None = None
        self.size = 0
        self.pieces: list[tuple[int, int]] = []
        self._offset: int | None = None

    def take(self, key: str, value: bytes) -> None:
        """One ``GNU.sparse.KEY`` record."""
        self.present = True
        if key == "name":
            self.name = value.decode("utf-8", "surrogateescape")
        elif key in ("realsize", "size"):
            self.size = pax.integer(key, value)
        elif key == "major":
            self.in_content = value == b"1"
        elif key == "offset":
            self._offset = pax.integer(key, value)
        elif key == "numbytes":
            self._add_bytes(pax.integer(key, value))
        elif key == "map" and value:
            self._take_list(value.split(b","))

    def _add_bytes(self, length: int) -> None:
        if self._offset is None:
            raise BadArchive("the archive has a sparse file with a piece without an offset")
        self.pieces.append((self._offset, length))
        self._offset = None

    def _take_list(self, texts: list[bytes]) -> None:
        values = [pax.integer("GNU.sparse.map", text) for text in texts]
        self.pieces = list(zip(values[::2], values[1::2], strict=False))

    def read_gnu(self, header: bytes, next_block: Callable[[], bytes], limit: int) -> None:
        """The old form: four pieces in the header, 21 in each block that follows it."""
        self.present = True
        self.size = numbers.decode(header[_OLD_SIZE], "the size of a sparse file")
        self._take_old(header[_OLD_MAP:], 4)
        more = header[_OLD_MORE]
        while more:
            block = next_block()
            if len(block) != BLOCK or len(self.pieces) > limit:
                raise BadArchive("the archive has a sparse file with an endless map")
            self._take_old(block, 21)
            more = block[504]

    def _take_old(self, table: bytes, count: int) -> None:
        for start in range(0, count * _PIECE, _PIECE):
            if not table[start]:
                return
            offset = numbers.decode(table[start : start + 12], "a sparse file's piece")
            length = numbers.decode(table[start + 12 : start + 24], "a sparse file's piece")
            self.pieces.append((offset, length))

    def read_content(self, next_block: Callable[[], bytes], limit: int) -> int:
        """Form 1.0: decimal lines in front of the content; how many bytes they took."""
        lines = _Lines(next_block)
        count = lines.number()
        if count > limit:
            raise BadArchive(f"the archive has a sparse file of {count} pieces")
        self.pieces = [(lines.number(), lines.number()) for _ in range(count)]
        return lines.blocks * BLOCK


class _Lines:
    def __init__(self, next_block: Callable[[], bytes]) -> None:
        self._next_block = next_block
        self._data = b""
        self.blocks = 0

    def number(self) -> int:
        while (end := self._data.find(b"\n")) < 0:
            if len(self._data) > 20:
                raise BadArchive("the archive has a malformed map of a sparse file")
            self._data += self._next_block()
            self.blocks += 1
        line, self._data = self._data[:end], self._data[end + 1 :]
        return pax.integer("a sparse file's map", line)


def check_pieces(
    name: str, pieces: list[tuple[int, int]], size: int, stored: int, limits: Limits
) -> None:
    """BadArchive unless the pieces are in order, inside the file, and as long as what is stored."""
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0 or offset + length > size:
            raise BadArchive(f"the archive's sparse file {name!r} has pieces that do not fit")
        end = offset + length
    total = sum(length for _, length in pieces)
    if total != stored or len(pieces) > limits.pieces or not 0 <= size <= limits.size:
        raise BadArchive(f"the archive's sparse file {name!r} has pieces that do not fit")
