"""Body framing, fed in every possible way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.http.body import ChunkedFraming, Framing, LengthFraming
from wherry.api.http.head import BadRequest


def _feed(framing: Framing, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Payload and rest of ``data``, given in pieces."""
    payload, rest, start = b"", b"", 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        piece, start = data[start:end], end
        if framing.done:
            rest += piece
            continue
        pieces, rest = framing.feed(piece)
        payload += b"".join(pieces)
    return payload, rest


_CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.binary(max_size=300), st.binary(max_size=20), _CUTS)
def test_a_length_ends_the_body_exactly(body: bytes, after: bytes, cuts: list[int]) -> None:
    framing = LengthFraming(len(body))
    assert _feed(framing, body + after, cuts) == (body, after)
    assert framing.done


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), st.binary(max_size=20), _CUTS)
def test_chunks_are_joined(chunks: list[bytes], after: bytes, cuts: list[int]) -> None:
    data = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in chunks)
    data += b"0\r\nTrailer: x\r\n\r\n" + after
    framing = ChunkedFraming()
    assert _feed(framing, data, cuts) == (b"".join(chunks), after)
    assert framing.done


@given(st.binary(max_size=200), _CUTS)
def test_no_input_breaks_the_chunk_reader(data: bytes, cuts: list[int]) -> None:
    try:
        payload, _ = _feed(ChunkedFraming(), data, cuts)
    except BadRequest:
        return
    assert len(payload) <= len(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"xyz\r\n", "chunk size"),
        (b"-1\r\n", "chunk size"),
        (b"1" * 16 + b"\r\n", "chunk size"),
        (b"1\r\nabc\r\n", "longer than its size"),
        (b"a" * 5000, "too long"),
        (b"0\r\n" + b"A: b\r\n" * 4000, "too long"),
    ],
)
def test_bad_chunks_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        ChunkedFraming().feed(data)
