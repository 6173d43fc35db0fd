from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.client.frames import Demultiplexer, frames
from wherry.errors import InternalError
from wherry.testing.fake_api import frame

_PIECES = st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=50)), max_size=8)


@given(pieces=_PIECES, cuts=st.lists(st.integers(1, 30), max_size=40))
def test_frames_survive_any_cut(pieces: list[tuple[int, bytes]], cuts: list[int]) -> None:
    wire = b"".join(frame(kind, data) for kind, data in pieces)
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(wire[at : at + cut])
        at += cut
    got = list(frames([*chunks, wire[at:]], tty=False))
    for kind in (1, 2):
        assert b"".join(d for k, d in got if k == kind) == b"".join(
            d for k, d in pieces if k == kind
        )


def test_a_piece_is_given_before_its_frame_is_complete() -> None:
    assert list(Demultiplexer().feed(frame(1, b"hello")[:10])) == [(1, b"he")]


def test_a_terminal_has_no_frames() -> None:
    assert list(frames([b"\x01\0\0", b"x"], tty=True)) == [(1, b"\x01\0\0"), (1, b"x")]


@pytest.mark.parametrize("head", [b"HTTP/1.1", b"\x09\0\0\0\0\0\0\1"])
def test_what_is_no_frame_is_an_error(head: bytes) -> None:
    with pytest.raises(InternalError, match="frames"):
        list(Demultiplexer().feed(head))
