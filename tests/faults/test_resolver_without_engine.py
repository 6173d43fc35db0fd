"""Containers' names while the engine, or the resolver itself, is killed."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.conftest import EngineProcess
from tests.patience import patience

from wherry.network.resolver import message as dns
from wherry.network.sandbox import run_inside

pytestmark = pytest.mark.root

_PATIENCE = patience(30.0)


def address_of(pid: int, name: str) -> str:
    """What 127.0.0.11 says in the network namespace of a process."""
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0" + dns.encode_name(name) + b"\0\1\0\1"

    def ask() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.settimeout(_PATIENCE)
            one.connect(("127.0.0.11", 53))
            one.send(question)
            return one.recv(512)

    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        answer = run_inside(fd, ask)
    finally:
        os.close(fd)
    return socket.inet_ntoa(answer[-4:]) if answer[7] == 1 else ""


def resolver_of(pid: int) -> int:
    """The process that has the socket of 127.0.0.11 in a namespace."""
    lines = Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    inode = next(line.split()[9] for line in lines if line.split()[1].startswith("0B00007F:"))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() != "wherry-resolver\n":
                continue
            if any(os.readlink(fd) == f"socket:[{inode}]" for fd in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("nobody answers")


def test_names_go_on_while_the_engine_is_killed(
    new_engine: Callable[[], EngineProcess],
) -> None:
    engine = new_engine()
    client = engine.start()
    pids, addresses = _two_containers(client)
    engine.kill()
    assert address_of(pids[1], "first") == addresses[0]
    engine.start()
    resolver = resolver_of(pids[1])
    assert address_of(pids[1], "first") == addresses[0]

    engine.kill()
    os.kill(resolver, signal.SIGKILL)
    engine.start()  # which sees that nobody answers
    assert resolver_of(pids[1]) != resolver
    assert address_of(pids[1], "first") == addresses[0]
    assert address_of(pids[0], "second") == addresses[1]


def _two_containers(client: Any) -> tuple[list[int], list[str]]:
    client.images.bootstrap("busybox")
    session = client.session
    session.post("/networks/create", json={"Name": "one"})
    pids, addresses = [], []
    for name in ("first", "second"):
        body = {"Image": "busybox", "Cmd": ["sleep", "600"], "HostConfig": {"NetworkMode": "one"}}
        session.post("/containers/create", {"name": name}, json=body)
        client.containers.get(name).start()
        found = session.get(f"/containers/{name}/json")
        pids.append(found["State"]["Pid"])
        addresses.append(found["NetworkSettings"]["Networks"]["one"]["IPAddress"])
    return pids, addresses
