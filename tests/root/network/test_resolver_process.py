"""The resolver as a process: it forwards, outlives its engine, and ends when nobody needs it."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from tests.patience import patience

from wherry.errors import InternalError, InvalidArgument
from wherry.network.resolver import client as client_module
from wherry.network.resolver import message as dns
from wherry.network.resolver.client import ResolverClient
from wherry.network.resolver.protocol import Member, View
from wherry.network.sandbox import NetnsSandbox, SandboxPool, run_inside

pytestmark = pytest.mark.root

NAMES = Member(
    network_id="n", network_name="net", container_id="1", names=("web",), ipv4="10.9.0.2"
)
_LONG = patience(20.0)
_HANGS = "import signal;signal.pause()"


def query(name: str, kind: int = dns.A) -> bytes:
    header = secrets.token_bytes(2) + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0)
    return header + dns.encode_name(name) + struct.pack(">HH", kind, 1)


def answer_to(packet: bytes, address: str, *, flags: int = 0x8180) -> bytes:
    record = b"\xc0\x0c" + struct.pack(">HHIH", dns.A, 1, 5, 4) + socket.inet_aton(address)
    return packet[:2] + struct.pack(">HHHHH", flags, 1, 1, 0, 0) + packet[12:] + record


def refusal_of(packet: bytes, code: int) -> bytes:
    return packet[:2] + struct.pack(">H", 0x8180 | code) + packet[4:]


Behaviour = Callable[[bytes], bytes | None]


class Upstream:
    """A name server on a loopback address of its own; what it was asked is in ``asked``."""

    def __init__(self, by_udp: Behaviour, by_tcp: Behaviour) -> None:
        self.address = f"127.{secrets.randbelow(100) + 100}.{secrets.randbelow(200)}.53"
        self.asked: list[str] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.create_server((self.address, 53))
        self._udp.bind((self.address, 53))
        self._threads = [
            threading.Thread(target=self._serve_udp, args=(by_udp,)),
            threading.Thread(target=self._serve_tcp, args=(by_tcp,)),
        ]
        for thread in self._threads:
            thread.start()

    def _serve_udp(self, behave: Behaviour) -> None:
        while True:
            packet, peer = self._udp.recvfrom(65535)
            if not packet:
                return
            self.asked.append("udp")
            if (answer := behave(packet)) is not None:
                self._udp.sendto(answer, peer)

    def _serve_tcp(self, behave: Behaviour) -> None:
        while True:
            connection, _ = self._tcp.accept()
            with connection:
                head = connection.recv(2, socket.MSG_WAITALL)
                if not head:
                    return
                packet = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
                self.asked.append("tcp")
                if (answer := behave(packet)) is not None:
                    # In two parts, as a network may deliver it.
                    connection.sendall(len(answer).to_bytes(2, "big") + answer[:5])
                    connection.sendall(answer[5:])

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", (self.address, 53))
        socket.create_connection((self.address, 53)).close()
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


@dataclass
class Inside:
    """A container's namespace, kept by a process as a container's is."""

    sandbox: NetnsSandbox
    process: subprocess.Popen[bytes]

    def ask(self, packet: bytes, patience: float = _LONG) -> bytes:
        def talk() -> bytes:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.settimeout(patience)
                one.connect(("127.0.0.11", 53))
                one.send(packet)
                return one.recv(65535)

        return run_inside(self.sandbox.netns_fd, talk)

    def connect(self) -> socket.socket:
        return run_inside(
            self.sandbox.netns_fd, lambda: socket.create_connection(("127.0.0.11", 53), _LONG)
        )

    def ask_by_tcp(self, *packets: bytes) -> list[bytes]:
        """All of them in one go, over one connection."""
        with self.connect() as one:
            one.sendall(b"".join(len(p).to_bytes(2, "big") + p for p in packets))
            return [_receive(one) for _ in packets]


def _receive(one: socket.socket) -> bytes:
    size = int.from_bytes(one.recv(2, socket.MSG_WAITALL), "big")
    return one.recv(size, socket.MSG_WAITALL)


@dataclass
class Bench:
    """Resolvers, namespaces and servers of one test."""

    directory: Path
    undo: ExitStack
    pool: SandboxPool
    clients: list[ResolverClient] = field(default_factory=list)

    def client(self) -> ResolverClient:
        client = ResolverClient(str(self.directory))
        self.clients.append(client)
        return client

    def inside(self) -> Inside:
        sandbox = self.pool.take()
        self.undo.callback(sandbox.close)
        process = run_inside(sandbox.netns_fd, lambda: subprocess.Popen(["sleep", "600"]))
        self.undo.callback(process.wait)
        self.undo.callback(process.kill)
        return Inside(sandbox, process)

    def upstream(self, by_udp: Behaviour, by_tcp: Behaviour | None = None) -> Upstream:
        server = Upstream(by_udp, by_tcp or by_udp)
        self.undo.callback(server.close)
        return server


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as undo:
        pool = SandboxPool(size=1)
        undo.callback(pool.close)
        found = Bench(tmp_path, undo, pool)
        yield found
        for client in found.clients:
            client.purge()


def served(bench: Bench, *servers: str, forward: bool = True) -> Inside:
    client, inside = bench.client(), bench.inside()
    client.announce(NAMES)
    client.serve(
        View(container_id="1", networks=("n",), servers=servers, forward=forward), inside.sandbox
    )
    client.follow("1", inside.process.pid)
    return inside


def resolvers() -> list[int]:
    """The processes of this test's clients, which are children of this one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (process / "stat").read_text().rpartition(")")
        except OSError:
            continue
        alive, parent = rest.split()[:2]
        if name.endswith("(wherry-resolver") and int(parent) == os.getpid() and alive != "Z":
            found.append(int(process.name))
    return found


def hanging() -> list[Path]:
    """What runs in place of a resolver and never answers."""
    return [one for one in Path("/proc").glob("[0-9]*/cmdline") if _HANGS in _text_of(one)]


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def resolver() -> int:
    (pid,) = resolvers()
    return pid


def test_names_are_answered_by_udp_and_tcp(bench: Bench) -> None:
    inside = served(bench)
    packet = query("web")
    expected = socket.inet_aton("10.9.0.2")
    assert inside.ask(packet)[-4:] == expected
    assert [one[-4:] for one in inside.ask_by_tcp(packet, packet)] == [expected] * 2


def test_other_names_are_asked_elsewhere_as_they_came(bench: Bench) -> None:
    server = bench.upstream(lambda packet: answer_to(packet, "192.0.2.7"))
    inside = served(bench, server.address)
    packet = query("example.com")
    assert inside.ask(packet) == answer_to(packet, "192.0.2.7")
    assert inside.ask_by_tcp(packet) == [answer_to(packet, "192.0.2.7")]
    assert server.asked == ["udp", "tcp"]


def test_services_and_what_is_below_a_name_are_asked_elsewhere(bench: Bench) -> None:
    """The name itself is the container's, whatever type is asked for."""
    server = bench.upstream(lambda packet: answer_to(packet, "192.0.2.7"))
    inside = served(bench, server.address)
    for name, kind in (("_http._tcp.web", 33), ("www.web", dns.AAAA), ("example.com", 15)):
        packet = query(name, kind)
        assert inside.ask(packet) == answer_to(packet, "192.0.2.7")
    assert server.asked == ["udp"] * 3
    own = inside.ask(query("web", 33))
    assert (own[3] & 0xF, own[6:8]) == (dns.NO_ERROR, b"\0\0")
    assert server.asked == ["udp"] * 3


def test_a_truncated_answer_makes_the_container_ask_by_tcp(bench: Bench) -> None:
    server = bench.upstream(
        lambda packet: answer_to(packet, "0.0.0.0", flags=0x8380),
        lambda packet: answer_to(packet, "192.0.2.8"),
    )
    inside = served(bench, server.address)
    packet = query("example.com")
    assert inside.ask(packet)[2] & 0x02
    assert inside.ask_by_tcp(packet) == [answer_to(packet, "192.0.2.8")]


@pytest.mark.parametrize("code", [dns.SERVER_FAILURE, dns.REFUSED])
def test_the_next_server_is_asked_when_one_cannot_help(bench: Bench, code: int) -> None:
    unwilling = bench.upstream(lambda packet: refusal_of(packet, code))
    silent = bench.upstream(lambda packet: None)
    willing = bench.upstream(lambda packet: answer_to(packet, "192.0.2.9"))
    closed = "127.99.0.1"
    inside = served(bench, closed, unwilling.address, willing.address)
    packet = query("example.com")
    assert inside.ask(packet) == answer_to(packet, "192.0.2.9")
    assert inside.ask_by_tcp(packet) == [answer_to(packet, "192.0.2.9")]
    bench.clients[0].serve(
        View(container_id="1", networks=("n",), servers=(silent.address, unwilling.address)),
        inside.sandbox,
    )
    assert inside.ask(packet)[3] & 0xF == code
    assert silent.asked == ["udp"]


def test_a_name_that_does_not_exist_is_an_answer(bench: Bench) -> None:
    server = bench.upstream(lambda packet: refusal_of(packet, 3))
    other = bench.upstream(lambda packet: answer_to(packet, "192.0.2.9"))
    inside = served(bench, server.address, other.address)
    assert inside.ask(query("example.com"))[3] & 0xF == 3
    assert other.asked == []


def test_forged_answers_are_not_taken(bench: Bench) -> None:
    def forge(packet: bytes) -> bytes:
        return answer_to(bytes([packet[0] ^ 1]) + packet[1:], "203.0.113.1")

    forger = bench.upstream(forge)
    honest = bench.upstream(lambda packet: answer_to(packet, "192.0.2.9"))
    inside = served(bench, forger.address, honest.address)
    packet = query("example.com")
    assert inside.ask(packet) == answer_to(packet, "192.0.2.9")


def test_nothing_leaves_an_internal_network(bench: Bench) -> None:
    server = bench.upstream(lambda packet: answer_to(packet, "192.0.2.7"))
    inside = served(bench, server.address, forward=False)
    assert inside.ask(query("example.com"))[3] & 0xF == dns.SERVER_FAILURE
    assert inside.ask(query("web"))[3] & 0xF == dns.NO_ERROR
    assert server.asked == []


def test_what_makes_no_sense_does_no_harm(bench: Bench) -> None:
    inside = served(bench)
    broken = b"\1\2" + b"\0" * 10
    assert inside.ask(broken) == b"\1\2\x80\1" + b"\0" * 8
    with inside.connect() as one:
        one.sendall(b"\xff\xff" + b"x" * 70000)
        one.shutdown(socket.SHUT_WR)
        while one.recv(65536):
            pass
    crowd = [inside.connect() for _ in range(100)]
    for one in crowd:
        one.close()
    assert inside.ask(query("web"))[3] & 0xF == dns.NO_ERROR


def test_a_container_may_run_a_server_of_its_own(bench: Bench) -> None:
    inside = served(bench)

    def bind() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.bind(("0.0.0.0", 53))
        socket.create_server(("0.0.0.0", 53)).close()

    run_inside(inside.sandbox.netns_fd, bind)


def test_it_goes_on_without_an_engine_and_is_taken_up_by_the_next(bench: Bench) -> None:
    inside = served(bench)
    pid = resolver()
    bench.clients[0].close()
    assert inside.ask(query("web"))[3] & 0xF == dns.NO_ERROR
    client = bench.client()
    other = Member(
        network_id="n", network_name="net", container_id="2", names=("db",), ipv4="10.9.0.3"
    )
    client.restore([(View(container_id="1", networks=("n",)), inside.process.pid)], [other], {})
    assert inside.ask(query("db"))[-4:] == socket.inet_aton("10.9.0.3")
    assert resolver() == pid


def test_what_a_new_engine_does_not_know_is_forgotten(bench: Bench) -> None:
    inside = served(bench)
    bench.clients[0].close()
    ended = os.pidfd_open(resolver())
    client = bench.client()
    client.restore([], [], {})
    client.close()
    _wait_for(ended)
    with pytest.raises(ConnectionRefusedError):
        inside.ask(query("web"))


def test_without_an_engine_it_ends_with_the_last_container(bench: Bench) -> None:
    inside = served(bench)
    ended = os.pidfd_open(resolver())
    bench.clients[0].close()
    inside.process.kill()
    _wait_for(ended)


def test_a_start_that_the_engine_did_not_finish_comes_to_nothing(bench: Bench) -> None:
    client, inside = bench.client(), bench.inside()
    client.serve(View(container_id="1", networks=("n",)), inside.sandbox)
    ended = os.pidfd_open(resolver())
    client.close()
    _wait_for(ended)


def test_it_is_started_again_when_it_was_killed(bench: Bench) -> None:
    inside = served(bench)
    pid = resolver()
    os.kill(pid, signal.SIGKILL)
    bench.clients[0].announce(NAMES)  # returns when a new one knows everything
    assert inside.ask(query("web"))[-4:] == socket.inet_aton("10.9.0.2")
    assert resolver() != pid


def test_one_that_does_not_answer_is_not_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An interpreter may take long to start: the first answer is waited for longer, but once."""
    monkeypatch.setattr(client_module, "_BOOTSTRAP", _HANGS)
    monkeypatch.setattr(client_module, "_START_PATIENCE", 0.2)
    monkeypatch.setattr(client_module, "_PATIENCE", 0.1)
    client, inside = bench.client(), bench.inside()
    with pytest.raises(InternalError, match="cannot be started: timed out"):
        client.serve(View(container_id="1", networks=("n",)), inside.sandbox)
    client.close()  # also where this comes before it was noticed, the process is ended
    for thread in threading.enumerate():
        if thread.name == "wherry-resolver-watch":
            thread.join(_LONG)
    assert hanging() == []
    assert [one.message for one in caplog.records] == ["the resolver failed: timed out"]


def test_it_may_do_nothing_but_answer(bench: Bench) -> None:
    served(bench)
    status = Path(f"/proc/{resolver()}/status").read_text()
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(found["Uid"].split() + found["Gid"].split()) == {"65534"}
    assert {found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
    assert found["Groups"].strip() == ""
    assert found["NoNewPrivs"] == "1"


def test_too_many_names_harm_nobody_else(bench: Bench) -> None:
    inside = served(bench)
    names = tuple(f"{number:0>60}" for number in range(3000))
    with pytest.raises(InvalidArgument, match="too many names"):
        bench.clients[0].announce(msgspec.structs.replace(NAMES, container_id="2", names=names))
    os.kill(resolver(), signal.SIGKILL)
    bench.clients[0].announce(NAMES)
    assert inside.ask(query("web"))[-4:] == socket.inet_aton("10.9.0.2")


def test_the_end_of_a_container_never_fails(bench: Bench) -> None:
    inside = served(bench)
    os.kill(resolver(), signal.SIGKILL)
    client = bench.clients[0]
    client.follow("1", inside.process.pid)
    assert inside.ask(query("web"))[-4:] == socket.inet_aton("10.9.0.2")
    ended = os.pidfd_open(resolver())
    os.kill(resolver(), signal.SIGKILL)
    client.withdraw("n", "1")
    client.forget("1")
    client.forget("1")
    _wait_for(ended)


def _wait_for(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(_LONG * 1000), "the resolver goes on"
    os.close(pidfd)
