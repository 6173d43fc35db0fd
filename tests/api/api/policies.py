"""A daemon with sockets that may not do everything, for the tests of policies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAMES = ("job", "reader")
_JOB = """
endpoints = [
    "* /containers/**", "GET /containers/json", "* /exec/**", "* /images/**", "ImageBuild",
    "ImageCommit", "* /volumes/**", "VolumeList", "* /networks/**", "NetworkList", "SystemEvents",
    "SystemDataUsage", "WherryMetrics",
]
labels = { job = "7" }
images = ["busybox"]
tags = ["ci/**"]
[grant]
binds = ["%s:ro"]
"""


@dataclass(frozen=True)
class Guarded:
    """``job`` and ``reader`` are sockets; ``other`` is a container that belongs to nobody."""

    daemon: Any
    job: str
    reader: str
    shared: Path
    other: str

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, data = self.daemon.call(method, path, body, by=self.job)
        return status, json.loads(data) if data.startswith((b"{", b"[")) else data

    def create(self, **members: Any) -> tuple[int, Any]:
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], **members}
        return self.call("POST", "/containers/create", body)


@contextmanager
def guarded_daemon(
    run_daemon: Callable[..., AbstractContextManager[Any]], root: Path
) -> Iterator[Guarded]:
    shared = root / "shared"
    shared.mkdir()
    (shared / "out").symlink_to("/etc")
    (root / "job.toml").write_text(_JOB % shared)
    (root / "reader.toml").write_text('mode = "read-only"\n')
    sockets = [f"--socket={root}/{name}.sock,policy={root}/{name}.toml" for name in _NAMES]
    with run_daemon(root, *sockets) as daemon:
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"]}
        made = daemon.call("POST", "/containers/create?name=other", body)
        other = json.loads(made[1])["Id"]
        assert daemon.call("POST", f"/containers/{other}/start")[0] == 204
        assert daemon.call("POST", "/volumes/create", {"Name": "others"})[0] == 201
        assert daemon.call("POST", "/networks/create", {"Name": "others"})[0] == 201
        yield Guarded(daemon, f"{root}/job.sock", f"{root}/reader.sock", shared, other)
        assert daemon.call("DELETE", f"/containers/{other}?force=1")[0] == 204
        assert daemon.call("DELETE", "/networks/others")[0] == 204
