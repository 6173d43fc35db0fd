"""Tables of a request's fields: what a case says of one, and how it is tried on a daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Works:
    """Shown by inspect as ``value``; ``script`` prints ``printed``, or one of them (the two
    versions of control groups)."""

    value: Any
    script: str = ""
    printed: str | tuple[str, ...] = ""
    host: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    warned: str = ""  # what the answer warns of where the kernel lacks it
    refused: str = ""  # words of a refusal, at the start at the latest, where the kernel differs


@dataclass(frozen=True)
class Refused:
    value: Any
    status: int
    words: str
    host: dict[str, Any] = field(default_factory=dict)
    at_start: bool = False  # else when the container is made


@dataclass(frozen=True)
class Elsewhere:
    """What it does takes more than one short container, and has tests of its own, in ``test``."""

    value: Any
    test: str
    host: dict[str, Any] = field(default_factory=dict)


Case = Works | Refused | Elsewhere


@contextmanager
def created(daemon: Any, body: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The container's id, and the warnings."""
    status, answer = daemon.call("POST", "/containers/create", body)
    assert status == 201, answer
    made = json.loads(answer)
    try:
        yield made["Id"], made["Warnings"] or []
    finally:
        assert daemon.call("DELETE", f"/containers/{made['Id']}?force=1&v=1")[0] == 204


def is_told(found: Any, wanted: Any) -> bool:
    """Whether all members of a value are in what inspect shows, which may have more."""
    if isinstance(wanted, dict):
        return all(name in found and is_told(found[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list):
        return all(map(is_told, found, wanted)) and len(found) == len(wanted)
    return bool(found == wanted)


def is_refused(daemon: Any, body: dict[str, Any], words: str) -> bool:
    """Whether a container is refused with these words when it is made or started."""
    status, answer = daemon.call("POST", "/containers/create", body)
    if status == 201:
        made = json.loads(answer)["Id"]
        status, answer = daemon.call("POST", f"/containers/{made}/start")
        assert daemon.call("DELETE", f"/containers/{made}?force=1&v=1")[0] == 204
    return status >= 400 and words in json.loads(answer)["message"]


def assert_refused(daemon: Any, body: dict[str, Any], case: Refused) -> None:
    if case.at_start:
        with created(daemon, body) as (container, _):
            status, answer = daemon.call("POST", f"/containers/{container}/start")
    else:
        status, answer = daemon.call("POST", "/containers/create", body)
    assert status == case.status, answer
    assert case.words in json.loads(answer)["message"]


def output(daemon: Any, container: str) -> str:
    status, answer = daemon.call("POST", f"/containers/{container}/start")
    assert status == 204, answer
    daemon.call("POST", f"/containers/{container}/wait")
    logs = daemon.call("GET", f"/containers/{container}/logs?stdout=1")[1]
    found = json.loads(daemon.call("GET", f"/containers/{container}/json")[1])
    if found["Config"]["Tty"]:
        return str(logs.decode().replace("\r\n", "\n").rstrip("\n"))
    text = b""
    while logs:
        end = 8 + int.from_bytes(logs[4:8], "big")
        text, logs = text + logs[8:end], logs[end:]
    return text.decode().rstrip("\n")
