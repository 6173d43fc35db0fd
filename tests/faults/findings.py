"""What an engine has on this machine, compared with what its containers need: the difference is
what a crash has left behind or lost."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.conftest import EngineProcess
from tests.faults.victims import lives, read
from tests.patience import patience

from wherry.client import Client

_PATIENCE = patience(20.0)
_GROUPS = Path("/sys/fs/cgroup")


def wait_until_settled(engine: EngineProcess, client: Client) -> list[str]:
    """What is wrong and stays so: some things are removed in the background."""
    deadline = time.monotonic() + _PATIENCE
    while found := sorted(_problems(engine, client)):
        if time.monotonic() > deadline:
            return found
        time.sleep(0.01)  # nothing announces the end of a link or of a group
    return []


@dataclass(frozen=True)
class _Needed:
    """What the containers of an engine need, by what its API says of them."""

    known: set[str]
    running: dict[str, int]  # container: process
    endpoints: int
    ports: int


def _needed(client: Client) -> _Needed:
    everything = client.session.get("/containers/json", {"all": True})
    known = {one["Id"]: client.session.get(f"/containers/{one['Id']}/json") for one in everything}
    running = {key: one for key, one in known.items() if one["State"]["Running"]}
    networks = [one["NetworkSettings"] for one in running.values()]
    return _Needed(
        known=set(known),
        running={key: one["State"]["Pid"] for key, one in running.items()},
        endpoints=sum(len(one["Networks"]) for one in networks),
        ports=sum(len(bound or ()) for one in networks for bound in one["Ports"].values()),
    )


def _problems(engine: EngineProcess, client: Client) -> Iterator[str]:
    needed = _needed(client)
    yield from _states(client, needed)
    yield from _directories(engine, needed)
    yield from _processes(needed, engine)
    yield from _groups(engine, needed)
    yield from _network(engine, needed)
    yield from _mounts(engine)
    with _database(engine) as database:
        yield from _tables(engine, database, needed)


def _states(client: Client, needed: _Needed) -> Iterator[str]:
    for key, pid in needed.running.items():
        if not lives(pid):
            yield f"{key[:12]} is said to run as process {pid}, which is gone"
    for one in client.session.get("/containers/json", {"all": True}):
        if one["State"] in ("removing", "dead", "restarting"):
            yield f"{one['Id'][:12]} is {one['State']}"


def _differ(what: str, found: set[str], wanted: set[str]) -> Iterator[str]:
    for key in sorted(found - wanted):
        yield f"{what} {key[:40]} belongs to nobody"
    for key in sorted(wanted - found):
        yield f"{what} {key[:40]} is missing"


def _names(path: Path) -> set[str]:
    return set(os.listdir(path)) if path.exists() else set()


def _directories(engine: EngineProcess, needed: _Needed) -> Iterator[str]:
    yield from _differ("directory of", _names(engine.data / "containers"), needed.known)
    yield from _differ("run directory of", _names(engine.run / "containers"), set(needed.running))
    for place in ("blobs/ingest", "build/work", "snapshots/trash"):
        yield from _differ(place, _names(engine.data / place), set())
    for one in (engine.run / "containers").glob("*/exec/*"):
        yield f"directory of the exec {one.name[:12]} belongs to nobody"
    for one in (engine.data / "volumes").glob("*/_new"):
        yield f"half a copy in volume {one.parent.name}"


def _processes(needed: _Needed, engine: EngineProcess) -> Iterator[str]:
    """Monitors name their container, or exec, in their command line; others are in its root."""
    titles = []
    own = _namespace("self")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        title = read(f"/proc/{pid}/cmdline").rstrip("\0")
        mine = _is_inside(pid, own, str(engine.data))
        if title.startswith("wherry-monitor ") and title.split()[1] in needed.known:
            titles.append(title.split()[1])
        elif mine and int(pid) not in _contained(engine, needed):
            yield f"process {pid} ({title}) belongs to nobody"
    yield from _differ("monitor of", set(titles), set(needed.running))


def _is_inside(pid: str, own: str, data: str) -> bool:
    return _namespace(pid) not in (own, "") and data in read(f"/proc/{pid}/mountinfo")


def _namespace(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _contained(engine: EngineProcess, needed: _Needed) -> set[int]:
    return {
        int(pid)
        for key in needed.running
        for group in _groups_of(engine)
        for pid in read(f"{group}/{key}/cgroup.procs").split()
    }


def _groups_of(engine: EngineProcess) -> list[Path]:
    name = engine.settings.cgroup_root.strip("/")
    places = [_GROUPS / name, *_GROUPS.glob(f"*/{name}")]
    return [place for place in places if place.is_dir()]


def _groups(engine: EngineProcess, needed: _Needed) -> Iterator[str]:
    for place in _groups_of(engine):
        found = {one.name for one in place.iterdir() if one.is_dir()}
        yield from _differ(f"control group {place}", found, set(needed.running))


def _network(engine: EngineProcess, needed: _Needed) -> Iterator[str]:
    instance = engine.settings.instance
    links = [one for one in os.listdir("/sys/class/net") if one.startswith(f"wv{instance}-")]
    if len(links) != needed.endpoints:
        yield f"{len(links)} links for {needed.endpoints} endpoints"
    elements = _port_elements(f"wherry_{instance}")
    if elements != needed.ports:
        yield f"{elements} elements for {needed.ports} published ports"


def _port_elements(table: str) -> int:
    """How many ports are translated: those in the maps that a verdict does not come out of."""
    listing = subprocess.run(
        ["nft", "-j", "list", "table", "inet", table], check=True, capture_output=True
    ).stdout
    maps = [one["map"] for one in json.loads(listing)["nftables"] if "map" in one]
    return sum(len(_elements(one)) for one in maps if "inet_service" in str(one["type"]))


def _elements(found: dict[str, Any]) -> list[Any]:
    elements = found.get("elem", [])
    return elements if isinstance(elements, list) else [elements]


def _mounts(engine: EngineProcess) -> Iterator[str]:
    for line in read("/proc/self/mountinfo").splitlines():
        where = line.split()[4]
        if where.startswith((f"{engine.data}/", f"{engine.run}/")):
            yield f"mount {where}"


def _database(engine: EngineProcess) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{engine.data}/wherry.db?mode=ro", uri=True, timeout=10)


def _tables(engine: EngineProcess, database: sqlite3.Connection, needed: _Needed) -> Iterator[str]:
    def column(sql: str) -> set[str]:
        return {str(row[0]) for row in database.execute(sql)}

    def count(sql: str) -> int:
        return int(database.execute(sql).fetchone()[0])

    yield from _differ("record of", column("SELECT id FROM containers"), needed.known)
    active = column("SELECT key FROM snapshot WHERE kind = 'active'")
    yield from _differ("writable layer of", active, needed.known)
    numbers = column("SELECT number FROM snapshot") | {"0", "trash"}
    yield from _differ("snapshot directory", _names(engine.data / "snapshots"), numbers)
    volumes = column("SELECT name FROM volume")
    yield from _differ("directory of volume", _names(engine.data / "volumes"), volumes)
    users = column("SELECT container FROM volume_use")
    yield from _differ("volumes' user", users - needed.known, set())
    leases = count("SELECT count(*) FROM network_endpoint")
    if leases != needed.endpoints:
        yield f"{leases} leases for {needed.endpoints} endpoints"
    ports = count("SELECT count(*) FROM network_port")
    if ports != needed.ports:
        yield f"{ports} records of ports for {needed.ports} published ports"
    layers = column("SELECT chain_id FROM layer")
    committed = column("SELECT key FROM snapshot WHERE kind = 'committed'")
    yield from _differ("committed snapshot", committed, layers)
