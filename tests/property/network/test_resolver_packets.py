"""Hostile packets: the resolver answers or refuses, whatever a container sends."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from wherry.network.resolver import message as dns
from wherry.network.resolver.answering import own_answer
from wherry.network.resolver.protocol import Member, View
from wherry.network.resolver.table import NameTable

_VIEW = View(container_id="1", networks=("n",), links={"n": {"x": "web"}})
_LABEL = st.binary(min_size=1, max_size=63)


def _table() -> NameTable:
    table = NameTable()
    names = ("web", "a" * 200, "")
    table.put(
        Member(
            network_id="n",
            network_name="net",
            container_id="1",
            names=names,
            ipv4="10.0.0.2",
            ipv6="fd00::2",
        )
    )
    return table


_TABLE = _table()


@given(st.binary(max_size=600), st.integers(12, 65535))
def test_any_packet_is_answered_well_or_refused(packet: bytes, limit: int) -> None:
    try:
        question = dns.parse_question(packet)
    except dns.Malformed:
        return
    answer = own_answer(_TABLE, _VIEW, packet, question, limit)
    assert answer is None or answer[:2] == packet[:2]
    assert dns.failure(packet, question, dns.SERVER_FAILURE)[:2] == packet[:2]


@given(
    st.integers(0, 0x7FFF),
    st.lists(
        _LABEL | st.sampled_from([b"web", b"net", b"x", b"arpa", b"in-addr", b"1"]), max_size=9
    ),
    st.integers(0, 65535) | st.sampled_from([dns.A, dns.AAAA, dns.PTR, dns.ANY]),
    st.integers(12, 65535),
)
def test_any_question_is_read_as_it_was_written(
    flags: int, labels: list[bytes], kind: int, limit: int
) -> None:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    packet = struct.pack(">HHHHHH", 5, flags, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)
    try:
        question = dns.parse_question(packet)
    except dns.Malformed:
        assert len(name) > 255
        return
    assert (question.kind, question.end, question.flags) == (kind, len(packet), flags)
    answer = own_answer(_TABLE, _VIEW, packet, question, limit)
    if answer is not None:
        assert answer[12 : len(packet)] == packet[12:]
        assert len(answer) <= max(limit, len(packet))


@given(st.binary(max_size=100), st.binary(min_size=17, max_size=100))
def test_any_answer_of_a_server_is_taken_or_left(packet: bytes, query: bytes) -> None:
    try:
        question = dns.parse_question(query)
    except dns.Malformed:
        return
    taken = dns.is_answer_to(packet, query, question)
    assert not taken or packet[:2] == query[:2]
