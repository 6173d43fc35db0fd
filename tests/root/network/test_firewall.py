"""Our rules beside those of others: what they close stays closed, what they remove comes back."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.patience import patience

from wherry.network.api import PortRequest
from wherry.sys.netlink.nft_events import NftEvents

pytestmark = pytest.mark.root

WEB = PortRequest(container_port=80, host_port_first=8080)
_DROP = "{ type filter hook forward priority 0 ; policy drop ; }"


@pytest.fixture
def nft(need: Any) -> Callable[[str], str]:
    need("nft")

    def run(command: str) -> str:
        done = subprocess.run(["nft", *command.split()], check=True, capture_output=True, text=True)
        return done.stdout

    return run


@pytest.fixture
def repaired(engine: Any) -> Iterator[Callable[[], None]]:
    """Waits until the engine has made its table again after a change by others.

    That a table of this name is there tells nothing: kernels show the one that is added and deleted
    at the beginning of the engine's transaction to everybody until that is committed.
    """
    events = NftEvents()
    name = f"wherry_{engine.instance}"
    port = engine.networks.rules_port
    timer = threading.Timer(patience(20), events.stop)
    timer.start()

    def wait() -> None:
        changed = False
        while changes := events.wait():
            for change in changes:
                if change.table == name and change.port != port:
                    changed = True
                elif change.table == name and changed:
                    return
        pytest.fail("the table was not made again")

    yield wait
    timer.cancel()
    timer.join()
    events.close()


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table inet wherry_t1",
        "flush chain inet wherry_t1 forward",
        "flush table inet wherry_t1",
    ],
)
def test_rules_come_back(
    command: str,
    engine: Any,
    outside: Any,
    servers: Any,
    nft: Callable[[str], str],
    repaired: Callable[[], None],
) -> None:
    container = engine.container()
    servers.start(container, 80)
    servers.start(outside, 81)
    engine.publish(container, WEB)
    before = nft("list table inet wherry_t1")
    nft(command)
    repaired()
    assert nft("list table inet wherry_t1") == before
    assert outside.reaches(outside.host, 8080)
    assert container.call(outside.address, 81) == f"::ffff:{outside.host}"
    nft("flush ruleset")  # it goes on watching
    repaired()
    assert outside.reaches(outside.host, 8080)


def test_a_start_installs_the_rules_once(engine: Any, nft: Callable[[str], str]) -> None:
    kept = engine.container()
    engine.publish(kept, WEB)
    engine.restart()
    installed = nft("-a list table inet wherry_t1")  # handles are never used twice
    engine.networks.reconcile([kept.endpoint])
    assert nft("-a list table inet wherry_t1") == installed
    engine.networks.reconcile([])  # no container is left, and no port
    assert "dport" in installed
    assert nft("-a list table inet wherry_t1") != installed


def test_connections_go_on_while_rules_come_back(
    engine: Any, outside: Any, servers: Any, nft: Callable[[str], str], repaired: Callable[[], None]
) -> None:
    container = engine.container()
    servers.start(container, 80)
    engine.publish(container, WEB)
    for _ in range(3):
        nft("flush ruleset")
        repaired()
        assert outside.call(outside.host, 8080) == f"::ffff:{outside.address}"


def test_rules_of_others_are_not_touched(engine: Any, nft: Callable[[str], str]) -> None:
    nft("add table ip filter")
    nft(f"add chain ip filter FORWARD {_DROP}")
    nft("add rule ip filter FORWARD ip saddr 192.0.2.1 accept")
    nft("add table inet mine")
    before = nft("list ruleset")
    engine.network("new")
    engine.publish(engine.container("new"), WEB)
    engine.restart()
    assert nft("list table ip filter") in before
    engine.networks.purge()
    left = nft("list ruleset")
    assert "table inet mine" in left
    assert nft("list table ip filter") in before
    assert "wherry" not in left


@pytest.mark.parametrize("family", ["ip filter", "inet own"])
def test_what_the_host_does_not_forward_is_not_forwarded(
    family: str, engine: Any, outside: Any, host: Any, servers: Any, nft: Callable[[str], str]
) -> None:
    """As with ufw, or a hand-made table: published ports open nothing."""
    container = engine.container()
    servers.start(container, 80)
    servers.start(outside, 81)
    engine.publish(container, WEB)
    nft(f"add table {family}")
    nft(f"add chain {family} FORWARD {_DROP}")
    engine.network("trigger")
    assert outside.is_kept_from(outside.host, 8080)
    assert container.is_kept_from(outside.address, 81)
    assert host.reaches("127.0.0.1", 8080)  # that is not forwarded
    nft(f"add rule {family} FORWARD ct state established,related accept")
    nft(f"add rule {family} FORWARD ip saddr {outside.address} tcp dport 80 accept")
    assert outside.reaches(outside.host, 8080)
    assert container.is_kept_from(outside.address, 81)


def test_packets_pass_iptables_whose_policy_is_drop_if_asked(
    engines: Callable[..., Any], outside: Any, servers: Any, nft: Callable[[str], str]
) -> None:
    """As dockerd sets it, at any time."""
    engine = engines(accept_forward=True)
    container = engine.container()
    servers.start(outside, 80)
    nft("add table ip filter")
    nft(f"add chain ip filter FORWARD {_DROP}")
    assert container.is_kept_from(outside.address, 80)
    engine.network("trigger")
    assert container.reaches(outside.address, 80)
    assert engine.container("trigger").reaches(outside.address, 80)
    assert nft("list chain ip filter FORWARD").count("accept") == 4
    for endpoint in engine.networks.endpoints("trigger"):
        engine.networks.disconnect(endpoint)
    engine.networks.remove("trigger")
    assert nft("list chain ip filter FORWARD").count("accept") == 2


def test_an_engine_that_is_asked_no_more_takes_its_rules_back(
    engines: Callable[..., Any], nft: Callable[[str], str]
) -> None:
    nft("add table ip filter")
    nft(f"add chain ip filter FORWARD {_DROP}")
    engine = engines(accept_forward=True)
    engine.network("trigger")
    assert "accept" in nft("list chain ip filter FORWARD")
    engine.defaults = type(engine.defaults)()
    engine.restart()
    assert "accept" not in nft("list chain ip filter FORWARD")
