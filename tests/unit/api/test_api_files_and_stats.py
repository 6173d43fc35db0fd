"""Modes of files in Go's form, statistics of what does not run, frames, names with other
capitals, attributes of logs."""

from __future__ import annotations

import base64
import json
import stat

import msgspec

from wherry.api.frames import Reframed, frame
from wherry.api.logstream import LogEncoder, LogForm, details_text
from wherry.api.params import shaped
from wherry.api.wire.files import go_mode, stat_header
from wherry.api.wire.stats import stats
from wherry.cgroup.api import BlkioEntry, CpuStats, MemoryStats, PidsStats, Stats
from wherry.engine.api import NetworkCounters, PathStat, StatsSample
from wherry.engine.records import Container
from wherry.model.container import ContainerConfig, HostConfig
from wherry.model.digest import Digest
from wherry.runtime.logs.reader import LogRecord

CONTAINER = Container(
    id="a" * 64,
    name="box",
    created_ns=1,
    image_id=Digest("sha256:" + "b" * 64),
    image_name="busybox",
    config=ContainerConfig(),
    host=HostConfig(),
    networking={},
    path="sh",
    args=(),
)


def test_modes_are_gos() -> None:
    assert go_mode(stat.S_IFREG | 0o644) == 0o644
    assert go_mode(stat.S_IFDIR | 0o1777) == 1 << 31 | 1 << 20 | 0o777
    assert go_mode(stat.S_IFLNK | 0o777) == 1 << 27 | 0o777
    assert go_mode(stat.S_IFREG | 0o4755) == 1 << 23 | 0o755
    assert go_mode(stat.S_IFCHR | 0o666) == 1 << 26 | 1 << 21 | 0o666


def test_the_stat_header_is_json_in_base64() -> None:
    found = PathStat(name="x", size=3, mode=stat.S_IFREG | 0o600, mtime_ns=10**9, link_target="")
    assert json.loads(base64.b64decode(stat_header(found))) == {
        "name": "x",
        "size": 3,
        "mode": 0o600,
        "mtime": "1970-01-01T00:00:01.000000000Z",
        "linkTarget": "",
    }


def test_statistics_of_a_container_that_does_not_run() -> None:
    members = stats(CONTAINER, None, None)
    assert (members["name"], members["read"]) == ("/box", "0001-01-01T00:00:00Z")
    assert members["memory_stats"] == {}
    assert members["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert "networks" not in members


def test_statistics_have_the_definitions_names() -> None:
    group = Stats(
        cpu=CpuStats(usage_ns=7, user_ns=4, system_ns=3, per_cpu_ns=(5, 2)),
        memory=MemoryStats(usage=100, stat={"cache": 1}),
        pids=PidsStats(current=2),
        io_bytes=(BlkioEntry(major=8, minor=0, op="Read", value=512),),
    )
    sample = StatsSample(
        read_ns=2 * 10**9,
        group=group,
        system_cpu_ns=99,
        online_cpus=2,
        memory_limit=1000,
        networks={"eth0": NetworkCounters(1, 2, 3, 4, 5, 6, 7, 8)},
    )
    members = stats(CONTAINER, sample, sample)
    assert members["cpu_stats"] == members["precpu_stats"]
    assert members["cpu_stats"]["system_cpu_usage"] == 99
    assert members["cpu_stats"]["cpu_usage"]["percpu_usage"] == (5, 2)
    assert members["memory_stats"] == {"usage": 100, "stats": {"cache": 1}, "limit": 1000}
    assert members["pids_stats"] == {"current": 2}
    assert members["networks"]["eth0"]["tx_bytes"] == 5
    (entry,) = members["blkio_stats"]["io_service_bytes_recursive"]
    assert entry == {"major": 8, "minor": 0, "op": "read", "value": 512}


def test_a_stream_gets_frames_or_loses_them() -> None:
    framed = frame("stdout", b"hello")
    assert Reframed(frames=True).encode(b"hello") == framed
    remover = Reframed(frames=False)
    assert remover.encode(framed[:5]) + remover.encode(framed[5:]) == b"hello"


class _Body(msgspec.Struct, rename="pascal"):
    detach_keys: str = ""
    cmd: str = ""


def test_the_case_of_names_does_not_matter() -> None:
    assert shaped({"detachKeys": "ctrl-a", "CMD": "x"}, _Body) == _Body("ctrl-a", "x")
    assert shaped({"DetachKeys": "exact", "detachkeys": "other"}, _Body) == _Body("exact")


def test_details_stand_before_each_line() -> None:
    text = details_text({"env": "a b", "team": "x,y"})
    assert text == "env=a+b,team=x%2Cy"
    record = LogRecord(time_ns=1, stream=1, data=b"line\n", partial=False)
    encoder = LogEncoder(LogForm(tty=True, details=text))
    assert encoder.encode(record) == b"env=a+b,team=x%2Cy line\n"
    assert LogEncoder(LogForm(tty=True, details="")).encode(record) == b" line\n"
    assert LogEncoder(LogForm(tty=True)).encode(record) == b"line\n"
