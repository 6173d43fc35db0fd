"""What the embedded resolver answers itself: messages, names, views."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from wherry.network.resolver import message as dns
from wherry.network.resolver.answering import own_answer
from wherry.network.resolver.forward import HostServers
from wherry.network.resolver.protocol import Member, View
from wherry.network.resolver.table import NameTable

IDENTITY = 7


def query(name: str, kind: int = dns.A, *, flags: int = 0x0100, family: int = 1) -> bytes:
    header = struct.pack(">HHHHHH", IDENTITY, flags, 1, 0, 0, 0)
    return header + dns.encode_name(name) + struct.pack(">HH", kind, family)


def read(answer: bytes) -> tuple[int, list[tuple[int, bytes]]]:
    """Flags, and type and data of each record; names are pointers as we write them."""
    identity, flags, questions, count, others, more = struct.unpack_from(">HHHHHH", answer)
    assert (identity, questions, others, more) == (IDENTITY, 1, 0, 0)
    position = answer.index(b"\0", 12) + 5
    records = []
    for _ in range(count):
        pointer, kind, family, seconds, size = struct.unpack_from(">HHHIH", answer, position)
        assert (pointer, family, seconds) == (0xC00C, 1, 600)
        records.append((kind, answer[position + 12 : position + 12 + size]))
        position += 12 + size
    assert position == len(answer)
    return flags, records


def member(network: str, container: str, *names: str, **addresses: str) -> Member:
    return Member(
        network_id=f"id-{network}",
        network_name=network,
        container_id=container,
        names=names,
        **addresses,
    )


@pytest.fixture
def table() -> NameTable:
    table = NameTable()
    table.put(member("red", "1", "web", "www", "0123456789ab", ipv4="10.0.0.2"))
    table.put(member("red", "2", "db", "www", ipv4="10.0.0.3", ipv6="fd00::3"))
    table.put(member("blue", "3", "web", ipv4="10.1.0.2"))
    return table


def view(*networks: str, **members: Any) -> View:
    return View(container_id="9", networks=tuple(f"id-{one}" for one in networks), **members)


def ask(table: NameTable, seen: View, packet: bytes, limit: int = 512) -> bytes | None:
    return own_answer(table, seen, packet, dns.parse_question(packet), limit)


def addresses(table: NameTable, seen: View, name: str, kind: int = dns.A) -> list[str]:
    answer = ask(table, seen, query(name, kind))
    assert answer is not None
    flags, records = read(answer)
    assert flags & 0x8580 == 0x8580  # an answer, with authority, recursion wanted and offered
    assert flags & 0xF == dns.NO_ERROR
    return [str(ipaddress.ip_address(data)) for _, data in records]


def test_names_are_those_of_the_networks_that_a_container_is_on(table: NameTable) -> None:
    assert addresses(table, view("red"), "web") == ["10.0.0.2"]
    assert addresses(table, view("blue"), "WEB") == ["10.1.0.2"]
    assert addresses(table, view("blue", "red"), "web") == ["10.1.0.2"]
    assert addresses(table, view("red"), "0123456789ab") == ["10.0.0.2"]
    assert ask(table, view("blue"), query("db")) is None
    assert ask(table, view(), query("web")) is None


def test_a_name_of_several_containers_gives_all_addresses(table: NameTable) -> None:
    assert sorted(addresses(table, view("red"), "www")) == ["10.0.0.2", "10.0.0.3"]


def test_a_name_may_be_followed_by_its_network(table: NameTable) -> None:
    seen = view("red", "blue")
    assert addresses(table, seen, "web.blue") == ["10.1.0.2"]
    assert ask(table, view("red"), query("web.blue")) is None


def test_a_known_name_without_such_an_address_is_answered_empty(table: NameTable) -> None:
    assert addresses(table, view("red"), "db", dns.AAAA) == ["fd00::3"]
    assert addresses(table, view("red"), "web", dns.AAAA) == []
    mail = ask(table, view("red"), query("web", 15))
    assert mail is not None
    assert read(mail)[1] == []


def test_links_are_names_for_one_container_only(table: NameTable) -> None:
    seen = view("red", links={"id-red": {"store": "db", "later": "nobody"}})
    assert addresses(table, seen, "store") == ["10.0.0.3"]
    assert ask(table, seen, query("later")) is None
    assert ask(table, view("red"), query("store")) is None


@pytest.mark.parametrize(
    "pointer", ["3.0.0.10.in-addr.arpa", ipaddress.ip_address("fd00::3").reverse_pointer]
)
def test_addresses_have_names(table: NameTable, pointer: str) -> None:
    answer = ask(table, view("red"), query(pointer, dns.PTR))
    assert answer is not None
    assert read(answer)[1] == [(dns.PTR, b"\x02db\x03red\x00")]
    assert ask(table, view("blue"), query(pointer, dns.PTR)) is None


@pytest.mark.parametrize(
    "name", ["x.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "300.0.0.10.in-addr.arpa", "a.ip6.arpa"]
)
def test_what_is_no_address_is_asked_elsewhere(table: NameTable, name: str) -> None:
    assert ask(table, view("red"), query(name, dns.PTR)) is None


def test_a_container_that_left_has_no_name(table: NameTable) -> None:
    table.drop("id-red", "2")
    assert addresses(table, view("red"), "www") == ["10.0.0.2"]
    assert ask(table, view("red"), query("db")) is None
    table.drop("id-red", "2")
    table.drop("id-nosuch", "2")


def test_a_container_takes_a_new_name(table: NameTable) -> None:
    table.put(member("red", "1", "shop", ipv4="10.0.0.9"))
    assert addresses(table, view("red"), "shop") == ["10.0.0.9"]
    assert ask(table, view("red"), query("web")) is None


def test_an_answer_that_is_too_long_is_cut_and_says_so(table: NameTable) -> None:
    for number in range(40):
        table.put(member("red", f"m{number}", "many", ipv4=f"10.2.0.{number + 1}"))
    packet = query("many")
    short, whole = ask(table, view("red"), packet), ask(table, view("red"), packet, 65535)
    assert short is not None
    assert whole is not None
    flags, records = read(short)
    assert flags & 0x0200
    assert len(short) <= 512 < len(short) + 16
    assert len(records) == 30
    assert not read(whole)[0] & 0x0200
    assert len(read(whole)[1]) == 40


def test_other_classes_are_asked_elsewhere_and_updates_are_not_known(table: NameTable) -> None:
    assert ask(table, view("red"), query("web", family=3)) is None
    update = ask(table, view("red"), query("web", flags=0x2800))
    assert update is not None
    assert read(update)[0] & 0xF == dns.NOT_IMPLEMENTED


def _two_questions() -> bytes:
    return query("a")[:5] + b"\x02" + query("a")[6:]


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        query("web")[:12],
        query("web")[:-1],
        query("web")[:14],
        query("web", flags=0x8100),
        _two_questions(),
        query("web")[:12] + b"\xc0\x0c\0\x01\0\x01",
        query("web")[:12] + b"\x3f" + b"a" * 63 + b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 3,
    ],
)
def test_what_is_no_question_is_malformed(packet: bytes) -> None:
    with pytest.raises(dns.Malformed):
        dns.parse_question(packet)


def test_a_dot_within_a_label_makes_no_other_name(table: NameTable) -> None:
    packet = query("web")[:12] + b"\x08web.blue\0\0\x01\0\x01"
    assert ask(table, view("red", "blue"), packet) is None


def test_answers_of_servers_must_fit_the_question() -> None:
    packet = query("example.com")
    question = dns.parse_question(packet)
    good = packet[:2] + b"\x81\x80" + packet[4:]
    assert dns.is_answer_to(good, packet, question)
    assert not dns.is_answer_to(packet, packet, question)
    assert not dns.is_answer_to(b"\0\0" + good[2:], packet, question)
    assert not dns.is_answer_to(good.replace(b"example", b"examplf"), packet, question)
    assert not dns.is_answer_to(good[:11], packet, question)


def test_the_hosts_servers_are_read_again_when_they_change(tmp_path: Any) -> None:
    path = tmp_path / "resolv.conf"
    servers = HostServers(str(path))
    assert servers.get() == ()
    path.write_text("# one\nnameserver 10.0.0.1\nsearch x\nnameserver\n")
    assert servers.get() == ("10.0.0.1",)
    path.write_text("nameserver 10.0.0.1\nnameserver ::1\n")
    assert servers.get() == ("10.0.0.1", "::1")
    path.unlink()
    assert servers.get() == ()
