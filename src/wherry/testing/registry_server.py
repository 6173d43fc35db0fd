"""A small registry in the process of a test: OCI distribution-spec 1.1, pull and push.

It keeps everything in memory, listens on the loopback with plain HTTP, asks for credentials if
told so, records all requests, and fails in the ways that a test asks for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from wherry.model.digest import digest_of

_REPOSITORY = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"


@dataclass(frozen=True)
class Request:
    """What a client sent. ``query`` holds the first value of each parameter."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Answer:
    """``cut_after`` ends the connection when so many bytes of the body are sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error answer as the specification wants it."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Answer(status, body, {"Content-Type": "application/json", **headers})


Fault = Callable[[Request], Answer | None]


@dataclass
class RegistryServer:
    """The content and the settings; change them while it runs."""

    auth: Literal["none", "basic", "bearer"] = "none"
    username: str = ""
    password: str = ""
    token_field: str = "token"
    anonymous_pull: bool = True
    ranges: bool = True
    mounts: bool = True
    fault: Fault | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    owners: set[tuple[str, str]] = field(default_factory=set)  # repository and blob's digest
    requests: list[Request] = field(default_factory=list)
    host: str = ""
    _tokens: dict[str, set[str]] = field(default_factory=dict)
    _uploads: dict[str, bytes] = field(default_factory=dict)

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = data
        self.owners.add((repository, digest))
        return digest

    def add_manifest(self, repository: str, name: str, media_type: str, data: bytes) -> str:
        """Store a manifest under a tag and under its digest, which is returned."""
        digest = digest_of(data)
        self.manifests[repository, digest] = (media_type, data)
        if name:
            self.manifests[repository, name] = (media_type, data)
        return digest

    def seen(self, method: str, pattern: str) -> list[Request]:
        """The recorded requests whose path matches a regular expression from its start."""
        return [r for r in self.requests if r.method == method and re.match(pattern, r.path)]

    # --- answering ------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.fault and (failed := self.fault(request)):
            return failed
        if request.path == "/token":
            return self._token(request)
        if denied := self._denied(request):
            return denied
        if request.path == "/v2/":
            return Answer(200, b"{}", {"Docker-Distribution-API-Version": "registry/2.0"})
        for kind, serve in (("manifests", self._manifest), ("blobs", self._blob)):
            if match := re.fullmatch(rf"/v2/{_REPOSITORY}/{kind}/(?P<ref>.*)", request.path):
                return serve(request, match["name"], match["ref"])
        return refusal(404, "NAME_UNKNOWN", "repository name not known to registry")

    def _denied(self, request: Request) -> Answer | None:
        if self.auth == "none":
            return None
        given = request.headers.get("authorization", "")
        if self.auth == "basic":
            challenge = 'Basic realm="test"'
            return None if self._is_user(given) else _unauthorized(challenge)
        needed = self._scope(request)
        if needed <= self._tokens.get(given.removeprefix("Bearer "), {"nobody"}):
            return None if given else _unauthorized(self._bearer(needed))
        return _unauthorized(self._bearer(needed))

    def _is_user(self, authorization: str) -> bool:
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return authorization == f"Basic {pair}"

    def _bearer(self, scopes: set[str]) -> str:
        scope = f',scope="{" ".join(sorted(scopes))}"' if scopes else ""
        return f'Bearer realm="http://{self.host}/token",service="test"{scope}'

    def _scope(self, request: Request) -> set[str]:
        match = re.match(rf"/v2/{_REPOSITORY}/(?:manifests|blobs)/", request.path)
        if not match:
            return set()
        action = "pull" if request.method in ("GET", "HEAD") else "push"
        return {f"repository:{match['name']}:{action}"}

    def _token(self, request: Request) -> Answer:
        given = request.headers.get("authorization", "")
        form = {k: v[0] for k, v in parse_qs(request.body.decode()).items()}
        user = self._is_user(given) or form.get("refresh_token", "") == self.password != ""
        if (given or form) and not user:
            return refusal(401, "UNAUTHORIZED", "incorrect username or password")
        scope = form.get("scope") or request.query.get("scope", "")
        token = secrets.token_hex(8)
        self._tokens[token] = set(_granted(scope, user, self.anonymous_pull))
        body = {self.token_field: token, "expires_in": 300}
        return Answer(200, json.dumps(body).encode())

    def _manifest(self, request: Request, name: str, reference: str) -> Answer:
        if request.method == "PUT":
            media_type = request.headers.get("content-type", "")
            digest = self.add_manifest(name, reference, media_type, request.body)
            return Answer(201, b"", {"Docker-Content-Digest": digest})
        if (name, reference) not in self.manifests:
            return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, data = self.manifests[name, reference]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(data)}
        return Answer(200, data, headers)

    def _blob(self, request: Request, name: str, reference: str) -> Answer:
        if reference.startswith("uploads/"):
            return self._upload(request, name, reference.removeprefix("uploads/"))
        if (name, reference) not in self.owners:
            return refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        return self._ranged(self.blobs[reference], request.headers.get("range", ""))

    def _ranged(self, data: bytes, wanted: str) -> Answer:
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        if not match or not self.ranges:
            return Answer(200, data)
        first = int(match[1])
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        return Answer(206, data[first:], headers)

    def _upload(self, request: Request, name: str, upload: str) -> Answer:
        if request.method == "POST":
            return self._begin(request, name)
        if upload not in self._uploads:
            return refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        self._uploads[upload] += request.body
        if request.method == "PATCH":
            end = max(0, len(self._uploads[upload]) - 1)
            return Answer(202, b"", {"Location": _location(name, upload), "Range": f"0-{end}"})
        return self._finish(name, upload, request.query.get("digest", ""))

    def _begin(self, request: Request, name: str) -> Answer:
        digest, source = request.query.get("mount", ""), request.query.get("from", "")
        if digest and self.mounts and (source, digest) in self.owners:
            self.owners.add((name, digest))
            return Answer(201, b"", {"Location": f"/v2/{name}/blobs/{digest}"})
        upload = secrets.token_hex(8)
        self._uploads[upload] = b""
        return Answer(202, b"", {"Location": _location(name, upload)})

    def _finish(self, name: str, upload: str, digest: str) -> Answer:
        data = self._uploads.pop(upload)
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
            return refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.add_blob(name, data)
        return Answer(201, b"", {"Location": f"/v2/{name}/blobs/{digest}"})


def _unauthorized(challenge: str) -> Answer:
    answer = refusal(401, "UNAUTHORIZED", "authentication required")
    return Answer(401, answer.body, {**answer.headers, "WWW-Authenticate": challenge})


def _granted(scope: str, user: bool, anonymous_pull: bool) -> Iterator[str]:
    for one in scope.split():
        kind, name, actions = one.split(":")
        for action in actions.split(","):
            if user or (anonymous_pull and action == "pull"):
                yield f"{kind}:{name}:{action}"


def _location(name: str, upload: str) -> str:
    return f"/v2/{name}/blobs/uploads/{upload}?_state=kept"


# --- HTTP --------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: RegistryServer

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {name: " ".join(values) for name, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body()
        self._answer(self.registry.answer(Request(self.command, url.path, query, headers, body)))

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut_after])
        self.close_connection = self.close_connection or answer.cut_after is not None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are recorded, not printed."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


@contextmanager
def running_registry(registry: RegistryServer) -> Iterator[RegistryServer]:
    """Serve until the end of the block, at ``registry.host`` (``127.0.0.1:PORT``)."""
    handler = type("Handler", (_Handler,), {"registry": registry})
    with _Server(("127.0.0.1", 0), handler) as server:
        registry.host = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
