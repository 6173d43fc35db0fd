from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherry.sys.netlink import wire

_PAIRS = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8)


@given(_PAIRS)
def test_attributes_come_back_as_they_were(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(wire.attribute(kind, payload) for kind, payload in pairs)
    assert len(data) % 4 == 0
    assert list(wire.attribute_list(data)) == pairs


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=5))
def test_messages_come_back_as_they_were(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(wire.Message(kind, body).encode(n) for n, (kind, body) in enumerate(pairs))
    received = list(wire.split_messages(data))
    assert [(one.kind, one.payload, one.sequence) for one in received] == [
        (kind, body, n) for n, (kind, body) in enumerate(pairs)
    ]


@given(st.binary(max_size=80))
def test_noise_is_refused_or_read_to_its_end(data: bytes) -> None:
    for parse in (wire.attribute_list, wire.split_messages):
        try:
            found = list(parse(data))
        except ValueError:
            continue
        assert len(found) <= len(data) // 4
