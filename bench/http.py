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

    def execute(self, container: str, command: list[str]) -> int:
        """Run one more command to its end, as a client does: create, start with a stream of its
        own, read that to the end, ask how it ended. Its exit code."""
        body = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        exec_id = self.call("POST", f"/containers/{container}/exec", body)["Id"]
        self._hijack(f"/exec/{exec_id}/start")
        return int(self.call("GET", f"/exec/{exec_id}/json")["ExitCode"])

    def _hijack(self, path: str) -> None:
        body = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST {_VERSION}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            f"Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(_TIMEOUT)
            stream.connect(self._path)
            stream.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ApiError(f"POST {path}: {answer[:300]!r}")

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}?force=1")

    def pid(self, container: str) -> int:
        return int(self.call("GET", f"/containers/{container}/json")["State"]["Pid"])
