"""The Engine API over one kept connection on a Unix socket. Small, so that it measures little."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

_VERSION = "/v1.41"
_TIMEOUT = 120.0


class ApiError(Exception):
    """An answer of 400 or more, with its message."""


class Api(http.client.HTTPConnection):
    """One connection; not shared by threads."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send JSON, get JSON (None if the answer has no body). ApiError."""
        data = None if body is None else json.dumps(body).encode()
        return self.send_bytes(method, path, data, "application/json")

    def send_bytes(self, method: str, path: str, data: bytes | None, kind: str) -> Any:
        headers = {"Content-Type": kind} if data is not None else {}
        self.request(method, _VERSION + path, body=data, headers=headers)
        response = self.getresponse()
        content = response.read()
        if response.status >= 400:
            raise ApiError(f"{method} {path}: {response.status} {content[:300]!r}")
        is_json = content and "json" in (response.getheader("Content-Type") or "")
        return json.loads(content.splitlines()[-1]) if is_json else None

    # --- what the rows do -----------------------------------------------------------------

    def create(self, image: str, command: list[str], network: str) -> str:
        body = {"Image": image, "Cmd": command, "HostConfig": {"NetworkMode": network}}
        return str(self.call("POST", "/containers/create", body)["Id"])

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def wait(self, container: str) -> int:
        return int(self.call("POST", f"/containers/{container}/wait")["StatusCode"])

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}?force=1")

    def pid(self, container: str) -> int:
        return int(self.call("GET", f"/containers/{container}/json")["State"]["Pid"])
