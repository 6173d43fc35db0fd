"""Docker's own definition of the API, tried on a real engine by schemathesis.

Neither is part of this project: ``--api-definition FILE`` names the definition (Swagger or
OpenAPI), ``--schemathesis PROGRAM`` the program, by default the one on the PATH.

What an answer may be:
- 501 and 503 are answers (what is refused by name, and swarms), 500 is not;
- ``null`` where the definition has a list, a map or a number that is not set: so dockerd answers.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
# Of those that never end schemathesis waits for the end: test_fuzzed_streams.py is for them.
_STREAMS = "/(events|session|build|auth|images/create)$|/(attach|stats|logs|wait|push)|/attach/ws$"
_NULLS = (
    "null is not of type",
    '"Mirrors":null',  # inside of an alternative
)


@pytest.fixture
def definition(request: pytest.FixtureRequest) -> Path:
    path = request.config.getoption("--api-definition")
    if not path:
        pytest.skip("no --api-definition was given")
    return Path(path)


@pytest.fixture
def schemathesis(request: pytest.FixtureRequest) -> str:
    program = request.config.getoption("--schemathesis") or shutil.which("schemathesis")
    if not program:
        pytest.skip("this machine lacks schemathesis")
    return str(program)


@pytest.fixture
def served(
    run_daemon: Callable[..., AbstractContextManager[Any]], tmp_path_factory: Any
) -> Iterator[Any]:
    """An engine on TCP, with something of each kind that is called ``thing``."""
    root = tmp_path_factory.mktemp("defined")
    with run_daemon(root, "-H", "tcp://127.0.0.1:0", "--insecure-tcp") as daemon:
        yield daemon
        for network in json.loads(daemon.call("GET", "/networks")[1]):
            daemon.call("DELETE", f"/networks/{network['Id']}")


def _port(daemon: Any) -> int:
    """Of the engine's TCP socket, which it chose itself."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    by_inode = {fields[9]: fields[1] for fields in listening if fields[3] == "0A"}
    for link in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        inode = str(link.readlink()).removeprefix("socket:[").removesuffix("]")
        if inode in by_inode:
            return int(by_inode[inode].partition(":")[2], 16)
    raise AssertionError("the engine listens on no TCP port")


def _things(daemon: Any) -> None:
    host = {"Binds": ["thing:/v"], "NetworkMode": "thing"}
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": host}
    assert daemon.call("POST", "/networks/create", {"Name": "thing"})[0] == 201
    assert daemon.call("POST", "/containers/create?name=thing", body)[0] == 201
    assert daemon.call("POST", "/containers/thing/start")[0] == 204


@pytest.mark.parametrize("methods", ["GET", "any"])
def test_answers_are_as_the_definition_has_them(
    definition: Path, schemathesis: str, served: Any, tmp_path: Path, methods: str
) -> None:
    _things(served)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text('[parameters]\n"path.id" = "thing"\n"path.name" = "thing"\n')
    only = ["--include-method", "GET"] if methods == "GET" else []
    report = tmp_path / "report.ndjson"
    subprocess.run(
        [
            schemathesis, "--config-file", str(settings), "run", str(definition),
            "--url", f"http://127.0.0.1:{_port(served)}/v1.51",
            "--phases", "coverage,fuzzing", "--max-examples", "10", "--max-time", "90",
            "--checks", "not_a_server_error,response_schema_conformance",
            "--exclude-path-regex", _STREAMS, "--suppress-health-check", "all",
            "--request-timeout", "20", "--no-shrink", "--continue-on-failure",
            "--report-ndjson-path", str(report), *only,
        ],
        check=False,
        capture_output=True,
        timeout=600,
        cwd=tmp_path,
    )  # fmt: skip
    assert report.exists()
    assert _failures(report) == []


def _failures(report: Path) -> list[str]:
    """What schemathesis found, without what the head of this file allows."""
    found: set[str] = set()
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is not None:
            found |= _of_scenario(scenario["recorder"])
    return sorted(found)


def _of_scenario(recorder: dict[str, Any]) -> set[str]:
    found = set()
    for case, checks in recorder.get("checks", {}).items():
        response = recorder.get("interactions", {}).get(case, {}).get("response") or {}
        for check in checks:
            failure = (check.get("failure_info") or {}).get("failure")
            if failure and not _allowed(failure, response.get("status_code", 0)):
                told = f"{failure['title']}: {failure['message'][:1000]}"
                found.add(f"{recorder['label']}: {told} {response.get('status_code')}")
    return found


def _allowed(failure: dict[str, Any], status: int) -> bool:
    if failure["type"] == "ServerError":
        return status in (501, 503)
    return any(null in failure["message"] for null in _NULLS)
