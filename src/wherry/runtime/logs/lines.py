"""Cutting a stream of bytes into what a log keeps: whole lines, or pieces of very long ones."""

from __future__ import annotations

PIECE = 16 * 1024
"""A line that is longer is kept in pieces of this size, as Docker does."""

Entry = tuple[int, bytes, bool]
"""Time in nanoseconds since the epoch, one or more whole lines or one piece, and whether it is a
piece whose line goes on."""


class Lines:
    """The splitter of one stream."""

    __slots__ = ("_piece_ns", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._piece_ns = 0  # when the line began whose pieces were given out; 0: none

    def feed(self, chunk: bytes, now_ns: int) -> list[Entry]:
        """Take what was read; give what is complete. Pieces of one line carry its first time."""
        data = self._rest + chunk if self._rest else chunk
        entries: list[Entry] = []
        cut = data.rfind(b"\n") + 1
        if cut:
            self._whole(data[:cut], now_ns, entries)
        rest = data[cut:]
        while len(rest) >= PIECE:
            self._piece_ns = self._piece_ns or now_ns
            entries.append((self._piece_ns, rest[:PIECE], True))
            rest = rest[PIECE:]
        self._rest = rest
        return entries

    def _whole(self, lines: bytes, now_ns: int, entries: list[Entry]) -> None:
        if self._piece_ns:
            end = lines.index(b"\n") + 1
            entries.append((self._piece_ns, lines[:end], False))
            self._piece_ns = 0
            lines = lines[end:]
        if len(lines) > PIECE and max(map(len, lines.split(b"\n"))) >= PIECE:
            _cut(lines, now_ns, entries)
        elif lines:
            entries.append((now_ns, lines, False))

    def finish(self, now_ns: int) -> list[Entry]:
        """What is left at the end of the stream: a line without its newline."""
        rest, self._rest = self._rest, b""
        return [(self._piece_ns or now_ns, rest, False)] if rest else []


def _cut(lines: bytes, now_ns: int, entries: list[Entry]) -> None:
    """Whole lines of which some are too long."""
    for line in lines.split(b"\n")[:-1]:
        whole = line + b"\n"
        while len(whole) > PIECE:
            entries.append((now_ns, whole[:PIECE], True))
            whole = whole[PIECE:]
        entries.append((now_ns, whole, False))
        now_ns += 1
