"""Backups of volumes by ``wherry volume`` and by the API."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

pytestmark = pytest.mark.root


def wherry(daemon: Any, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "wherry.cli", "-H", daemon.host, *words],
        capture_output=True, text=True, timeout=patience(60), check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return (done.stdout + done.stderr).strip()


def test_there_and_back(daemon: Any, tmp_path: Path) -> None:
    wherry(daemon, "volume", "create", "data")
    script = "echo hello > /v/file; chown 5 /v/file"
    wherry(
        daemon, "run", "--rm", "--network", "none", "-v", "data:/v", "busybox", "sh", "-c", script
    )
    archive = tmp_path / "data.tar"
    wherry(daemon, "volume", "export", "--pause", "-o", str(archive), "data")
    with tarfile.open(archive) as tar:
        assert [(m.name, m.uid) for m in tar] == [(".", 0), ("file", 5)]
    assert wherry(daemon, "volume", "import", "-i", str(archive), "copy") == "copy"
    assert wherry(daemon, "volume", "clone", "--label", "a=b", "copy", "twin") == "twin"
    assert wherry(daemon, "volume", "snapshot", "--pause", "twin", "kept") == "kept"
    run = ("run", "--rm", "--network", "none", "-v", "kept:/v", "busybox", "cat", "/v/file")
    assert wherry(daemon, *run) == "hello"
    status, body = daemon.call("GET", "/volumes/twin/snapshots")
    found = json.loads(body)["Volumes"]
    assert (status, [volume["Name"] for volume in found]) == (200, ["kept"])
    assert found[0]["Labels"] == {"org.wherry.snapshot-of": "twin"}
    assert "exists already" in wherry(daemon, "volume", "clone", "data", "twin", code=1)
    assert "no such volume" in wherry(daemon, "volume", "export", "nosuch", code=1)
    assert "not empty" in wherry(daemon, "volume", "import", "-i", str(archive), "copy", code=1)
    pruned = wherry(daemon, "volume", "prune", "-f", "--all")
    assert "twin" in pruned
    assert "kept" not in pruned
    wherry(daemon, "volume", "rm", "kept")


def test_bad_bodies(daemon: Any) -> None:
    daemon.call("POST", "/volumes/create", {"Name": "full"})
    assert daemon.call("POST", "/volumes/full/clone", {"Name": "../x"})[0] == 400
    assert daemon.call("POST", "/volumes/full/clone", {"Name": 5})[0] == 400
    assert daemon.call("POST", "/volumes/full/snapshots", {"Name": "full"})[0] == 409
    status, body = daemon.call("POST", "/volumes/new/import", {"no": "tar"})
    assert (status, daemon.call("GET", "/volumes/new")[0]) == (400, 404), body
    daemon.call("DELETE", "/volumes/full")
