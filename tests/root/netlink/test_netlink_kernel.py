"""netlink against the kernel, in a namespace of its own, checked with the usual programs."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from wherry.sys.namespaces import CLONE_NEWNET, setns, unshare
from wherry.sys.netlink import nftables as nft
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.nftables import WORD, DataType, Element
from wherry.sys.netlink.route import RouteConnection, Veth

pytestmark = pytest.mark.root

TABLE = "wherry_test"


@pytest.fixture(autouse=True)
def own_namespace() -> Iterator[None]:
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    unshare(CLONE_NEWNET)
    yield
    setns(home, CLONE_NEWNET)
    os.close(home)


@pytest.fixture
def route() -> Iterator[RouteConnection]:
    connection = RouteConnection()
    connection.take_up("lo")
    yield connection
    connection.close()


@pytest.fixture
def tables() -> Iterator[nft.NftConnection]:
    connection = nft.NftConnection()
    yield connection
    connection.close()


def _other_namespace() -> int:
    fds: list[int] = []

    def make() -> None:
        unshare(CLONE_NEWNET)
        fds.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return fds[0]


def _output(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def test_a_bridge_with_both_kinds_of_address(route: RouteConnection) -> None:
    made = route.create_bridge("br0", 1400, "02:00:00:00:00:01")
    interfaces = [ipaddress.ip_interface(text) for text in ("10.1.2.3/24", "fd00::3/64")]
    route.configure(made.index, interfaces, ())
    seen = {(a["local"], a["prefixlen"]) for a in _show("addr", "br0")["addr_info"]}
    assert {("10.1.2.3", 24), ("fd00::3", 64)} <= seen
    shown = _show("link", "br0")
    assert (shown["mtu"], shown["address"]) == (1400, "02:00:00:00:00:01")
    assert {(made.index, interface) for interface in interfaces} <= set(route.addresses())
    destinations = {one.destination for one in route.routes()}
    assert ipaddress.ip_network("10.1.2.0/24") in destinations


def _show(what: str, name: str) -> dict[str, object]:
    return json.loads(_output(f"ip -json {what} show dev {name}"))[0]


def test_a_pair_into_another_namespace(route: RouteConnection) -> None:
    bridge = route.create_bridge("br0", 1400, "02:00:00:00:00:01")
    other = _other_namespace()
    mac, peer_mac = "02:00:00:00:00:02", "02:00:00:00:00:03"
    veth = Veth("v0", bridge.index, 1400, mac, "eth0", other, peer_mac, isolated=True)
    route.create_veth(veth)
    assert route.link("v0").master == bridge.index
    assert "isolated on" in _output("bridge -d link show dev v0")
    with pytest.raises(NetlinkError) as caught:
        route.create_veth(veth)
    assert caught.value.errno == errno.EEXIST
    inside = _run_in(other, RouteConnection)
    link = inside.take_up("eth0")
    interface, gateway = ipaddress.ip_interface("10.0.0.2/24"), ipaddress.ip_address("10.0.0.1")
    inside.configure(link.index, [interface], [gateway])
    assert None in {one.destination for one in inside.routes() if one.interface == link.index}
    defaults = inside.default_routes()
    assert [one for one in inside.routes() if one.destination is None] == defaults
    assert link.index in {one.interface for one in defaults}
    assert len(inside.routes()) > 1
    assert route.delete_link("v0")
    assert not route.delete_link("v0")
    assert inside.find_link("eth0") is None
    inside.close()
    os.close(other)


def _run_in(netns_fd: int, work: Callable[[], RouteConnection]) -> RouteConnection:
    found: list[RouteConnection] = []

    def enter() -> None:
        setns(netns_fd, CLONE_NEWNET)
        found.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found[0]


def test_many_links_go_at_once_and_the_others_stay(route: RouteConnection) -> None:
    for number in range(8):
        route.create_bridge(f"br{number}", 1500, f"02:00:00:00:00:{number:02x}")
    route.delete_links(["br1", "br2", "gone", "br3"], 4711)
    assert {link.name for link in route.links()} >= {"br0", "br4", "br5", "br6", "br7"}
    assert not {link.name for link in route.links()} & {"br1", "br2", "br3"}
    route.delete_links(["br1"], 4711)


def test_an_error_says_what_the_kernel_says(route: RouteConnection) -> None:
    bridge = route.create_bridge("br0", 1500, "02:00:00:00:00:01")
    with pytest.raises(NetlinkError, match=r"[Nn]exthop"):
        route.configure(bridge.index, (), [ipaddress.ip_address("10.99.0.1")])
    with pytest.raises(NetlinkError) as caught:
        route.link("nothing")
    assert caught.value.errno == errno.ENODEV


def test_all_of_a_batch_or_nothing(tables: nft.NftConnection) -> None:
    tables.transact([nft.add_table(TABLE)])
    chain = nft.Chain("forward", "filter", nft.FORWARD, 0)
    with pytest.raises(NetlinkError):
        tables.transact(
            [
                nft.add_chain(TABLE, chain),
                nft.add_rule(TABLE, "missing", nft.verdict(nft.DROP)),
            ]
        )
    assert tables.chain_policy(nft.INET, TABLE, "forward") is None
    tables.transact([nft.add_chain(TABLE, chain)])
    assert tables.chain_policy(nft.INET, TABLE, "forward") == nft.ACCEPT


def test_rules_by_handle_and_comment(tables: nft.NftConnection) -> None:
    tables.transact(
        [
            nft.add_table(TABLE),
            nft.add_chain(TABLE, nft.Chain("own")),
            nft.add_rule(TABLE, "own", nft.counter(), comment="second"),
            nft.add_rule(TABLE, "own", nft.counter(), comment="first", first=True),
        ]
    )
    rules = tables.rules(nft.INET, TABLE, "own")
    assert [rule.comment for rule in rules] == ["first", "second"]
    tables.transact([nft.delete_rule(TABLE, "own", rules[0].handle)])
    assert [rule.comment for rule in tables.rules(nft.INET, TABLE, "own")] == ["second"]
    assert tables.rules(nft.INET, TABLE, "nothing") == []


def test_thousands_of_elements(tables: nft.NftConnection) -> None:
    ports = nft.Set("ports", (nft.PROTOCOL, nft.SERVICE), (nft.ADDRESS4, nft.SERVICE))
    elements = [
        Element(
            nft.concatenated(b"\6", number.to_bytes(2, "big")),
            nft.concatenated(bytes([10, 0, number >> 8, number & 255]), b"\0\x50"),
        )
        for number in range(1, 5001)
    ]
    tables.transact(
        [
            nft.add_table(TABLE),
            nft.add_set(TABLE, ports, 1),
            *nft.add_elements(TABLE, "ports", elements),
        ]
    )
    with pytest.raises(NetlinkError) as caught:
        tables.transact(nft.add_elements(TABLE, "ports", elements[:1]))
    assert caught.value.errno == errno.EEXIST
    tables.transact(nft.delete_elements(TABLE, "ports", elements))
    with pytest.raises(NetlinkError) as caught:
        tables.transact(nft.delete_elements(TABLE, "ports", elements[-1:]))
    assert caught.value.errno == errno.ENOENT


def test_the_nft_program_reads_what_was_made(
    need: Callable[[str], None], tables: nft.NftConnection
) -> None:
    need("nft")
    types: tuple[DataType, ...] = (nft.ADDRESS4, nft.INTERFACE)
    name = nft.interface_key("br0")
    first, last = socket.inet_aton("10.0.0.0"), socket.inet_aton("10.0.255.255")
    tables.transact(
        [
            nft.add_table(TABLE),
            nft.add_set(TABLE, nft.Set("bridges", (nft.INTERFACE,)), 1),
            nft.add_set(TABLE, nft.Set("local", types, ranges=True), 2),
            nft.add_set(TABLE, nft.Set("ports", (nft.ADDRESS4,), (nft.ADDRESS4, nft.SERVICE)), 3),
            nft.add_chain(TABLE, nft.Chain("pre", "nat", nft.PREROUTING, -100)),
            *nft.add_elements(TABLE, "bridges", [Element(name)]),
            *nft.add_elements(TABLE, "local", [Element(first + name, last=last + name)]),
            nft.add_rule(
                TABLE,
                "pre",
                nft.is_family(nft.IPV4),
                nft.load_destination4(4),
                nft.translate("ports", WORD[0], WORD[0]),
                nft.change_destination(nft.IPV4, WORD[0], WORD[1]),
            ),
            nft.add_rule(TABLE, "pre", nft.is_for_this_host(), nft.verdict(nft.RETURN)),
        ]
    )
    listing = _output(f"nft list table inet {TABLE}")
    for line in (
        'elements = { "br0" }',
        'elements = { 10.0.0.0/16 . "br0" }',
        "dnat ip to ip daddr map @ports",
        "fib daddr type local return",
    ):
        assert line in listing
