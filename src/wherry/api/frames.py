"""Docker's frames: one byte of stream number, three of zero, four of length, then the payload.

Engine API v1.51, operation ContainerAttach, section "Stream format". Only streams without a
terminal have frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

STREAMS: Mapping[str, int] = {"stdin": 0, "stdout": 1, "stderr": 2}
_HEAD = 8
_HEADS = 4096
RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def frame(stream: str, payload: bytes) -> bytes:
    """One frame of ``stdout`` or ``stderr``."""
    return STREAMS[stream].to_bytes(4, "little") + len(payload).to_bytes(4, "big") + payload


class LineFrames:
    """Makes a frame of each line of a stream, as dockerd does: libraries hand frames out one by
    one, and their users take them for lines."""

    def __init__(self, stream: str) -> None:
        self._stream = STREAMS[stream]
        self._heads: dict[int, bytes] = {}  # by the line's length: many lines are as long

    def __call__(self, data: bytes) -> bytes:
        lines = data.split(b"\n")
        rest = lines.pop()
        self._learn(set(map(len, lines)))
        heads = self._heads
        out = b"\n".join([heads[len(line)] + line for line in lines]) + b"\n" if lines else b""
        return out + self._head(len(rest)) + rest if rest else out

    def _learn(self, lengths: set[int]) -> None:
        if len(self._heads) > _HEADS:
            self._heads = {}
        for length in lengths - self._heads.keys():
            self._heads[length] = self._head(length + 1)

    def _head(self, size: int) -> bytes:
        return self._stream.to_bytes(4, "little") + size.to_bytes(4, "big")


def content_type(version: tuple[int, int], *, tty: bool) -> str:
    """What a stream calls itself; clients before 1.42 know only one name."""
    return MULTIPLEXED if not tty and version >= (1, 42) else RAW


class Unframer:
    """Takes the frames off a stream that comes in pieces."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def __call__(self, data: bytes) -> bytes:
        out: list[bytes] = []
        while data:
            if self._left:
                out.append(data[: self._left])
                data, self._left = data[self._left :], max(0, self._left - len(data))
                continue
            want = _HEAD - len(self._head)
            self._head, data = self._head + data[:want], data[want:]
            if len(self._head) == _HEAD:
                self._left = int.from_bytes(self._head[4:], "big")
                self._head = b""
        return b"".join(out)


class Reframed:
    """A codec (see ``http.relay.Codec``) whose client wants frames where the stream has none, or
    the reverse."""

    def __init__(self, *, frames: bool) -> None:
        self.encode: Callable[[bytes], bytes] = partial(frame, "stdout") if frames else Unframer()

    def decode(self, data: bytes) -> bytes:
        return data

    def replies(self) -> bytes:
        return b""

    def farewell(self) -> bytes:
        return b""
