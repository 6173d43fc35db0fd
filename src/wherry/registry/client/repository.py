"""One repository of a registry: its manifests and blobs (OCI distribution-spec 1.1)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from wherry.errors import DataCorrupt
from wherry.model.digest import Digest, algorithm, digest_of, hex_of, parse_digest
from wherry.model.image import INDEX_TYPES, MANIFEST_TYPES, Descriptor
from wherry.model.reference import Reference
from wherry.registry.client.errors import (
    NotAnImage,
    Refusal,
    RegistryRefused,
    other_error,
    pull_error,
    refusal,
)
from wherry.registry.client.session import Call, OpenBody, Response, Session, read_limited

MANIFEST_LIMIT = 4 * 1024 * 1024  # bytes; distribution-spec: registries should take this much
_ERROR_LIMIT = 64 * 1024
_ACCEPT = ", ".join(sorted(INDEX_TYPES | MANIFEST_TYPES))
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"


class RawManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest or index as the registry has it."""

    media_type: str
    digest: Digest
    data: bytes


class Repository:
    """What can be asked of a repository. Errors are in Docker's words."""

    def __init__(self, session: Session, reference: Reference) -> None:
        self.session = session
        self.reference = reference
        self._path = reference.path
        self._read = (f"repository:{self._path}:pull",)
        self._write = (f"repository:{self._path}:pull,push",)

    # --- reading --------------------------------------------------------------------------

    def resolve(self) -> Digest | None:
        """The digest that the reference stands for, by HEAD; None if the registry tells none."""
        if self.reference.digest:
            return self.reference.digest
        with self.session.open(self._manifest_call("HEAD", self.reference.tag or "")) as response:
            text = response.headers.get("Docker-Content-Digest", "")
            return parse_digest(text) if response.status == 200 and text else None

    def manifest(self, digest: Digest | None) -> RawManifest:
        """Get the manifest with this digest, or with the reference's tag if None. Verified."""
        call = self._manifest_call("GET", digest or self.reference.tag or "")
        with self.session.open(call) as response:
            if response.status != 200:
                raise self._pull_error(response)
            data = read_limited(response, MANIFEST_LIMIT)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        actual = digest or digest_of(data)
        _verify(data, actual)
        self._refuse_schema_1(media_type)
        return RawManifest(media_type=media_type, digest=actual, data=data)

    @contextmanager
    def blob(
        self, descriptor: Descriptor, offset: int = 0, attempt: int = 0
    ) -> Iterator[tuple[Response, int]]:
        """Read a blob from ``offset`` (bytes) on; yields the answer and where it really starts.

        A registry that knows no ranges starts at 0. A foreign layer is read from its own URLs,
        another one with each attempt.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        urls = descriptor.urls or (self._blob_url(descriptor.digest),)
        url = self.session.resolve(urls[attempt % len(urls)])
        call = Call(method="GET", url=url, scopes=self._read, headers=headers)
        with self.session.open(call) as response:
            if response.status not in (200, 206):
                raise self._pull_error(response)
            yield response, _start(response, offset)

    def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """A whole blob in memory, verified; DataCorrupt if it is none of ``limit`` bytes."""
        with self.blob(descriptor) as (response, _):
            data = read_limited(response, limit)
        _verify(data, descriptor.digest)
        return data

    def has_blob(self, digest: Digest) -> bool:
        call = Call(method="HEAD", url=self._blob_url(digest), scopes=self._write)
        with self.session.open(call) as response:
            if response.status in (401, 403):
                raise self._push_error(response)
            return response.status == 200

    # --- writing --------------------------------------------------------------------------

    def mount_blob(self, digest: Digest, source: str) -> str | None:
        """Take over a blob of another repository of the same registry (201); otherwise the URL
        of the upload that the registry began instead (202)."""
        query = urlencode({"mount": digest, "from": source})
        read_source = f"repository:{source}:pull"
        return self._begin(f"{self._path}/blobs/uploads/?{query}", (*self._write, read_source))

    def begin_upload(self) -> str:
        """The URL of a new upload."""
        location = self._begin(f"{self._path}/blobs/uploads/", self._write)
        if location is None:
            raise RegistryRefused("the registry answered an upload without saying where to")
        return location

    def upload(self, location: str, descriptor: Descriptor, body: OpenBody) -> None:
        """Send a whole blob to an upload's URL, in one request."""
        call = Call(
            method="PUT",
            url=_with_query(location, "digest", descriptor.digest),
            scopes=self._write,
            headers={"Content-Type": "application/octet-stream"},
            body=body,
            length=descriptor.size,
            attempts=1,  # an upload that broke off has a new URL
        )
        with self.session.open(call) as response:
            if response.status not in (201, 204):
                raise self._push_error(response)

    def put_manifest(self, name: str, media_type: str, data: bytes) -> None:
        """Make a manifest visible under a tag or digest."""
        call = Call(
            method="PUT",
            url=f"{self._path}/manifests/{name}",
            scopes=self._write,
            headers={"Content-Type": media_type},
            body=lambda: BytesIO(data),
            length=len(data),
        )
        with self.session.open(call) as response:
            if response.status not in (200, 201, 202):
                raise self._push_error(response)

    # --- inner ----------------------------------------------------------------------------

    def _begin(self, path: str, scopes: tuple[str, ...]) -> str | None:
        with self.session.open(Call(method="POST", url=path, scopes=scopes)) as response:
            if response.status == 201:
                return None
            location = response.headers.get("Location", "")
            if response.status != 202 or not location:
                raise self._push_error(response)
            return self.session.resolve(location, self.session.resolve(path))

    def _manifest_call(self, method: str, name: str) -> Call:
        url = f"{self._path}/manifests/{name}"
        return Call(method=method, url=url, scopes=self._read, headers={"Accept": _ACCEPT})

    def _blob_url(self, digest: Digest) -> str:
        return f"{self._path}/blobs/{digest}"

    def _pull_error(self, response: Response) -> Exception:
        reference = self.reference
        return pull_error(reference.familiar, reference.familiar_repository, _refusal(response))

    def _push_error(self, response: Response) -> Exception:
        return other_error(_refusal(response))

    def _refuse_schema_1(self, media_type: str) -> None:
        if media_type.startswith(_SCHEMA_1):
            raise NotAnImage(
                f"{self.reference.familiar} has a manifest of schema 1, which is no longer "
                "supported: push the image again with a current client"
            )


def _refusal(response: Response) -> Refusal:
    body = response.read(_ERROR_LIMIT) if response.status >= 400 else b""
    return refusal(response.status, body)


def _verify(data: bytes, expected: Digest) -> None:
    if hashlib.new(algorithm(expected), data).hexdigest() != hex_of(expected):
        raise DataCorrupt(f"the registry sent something that does not match {expected}")


def _start(response: Response, offset: int) -> int:
    """Where the answer to a request for the bytes from ``offset`` on starts (RFC 9110, 14.4)."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) > offset:
        raise RegistryRefused(f"the registry sent another range than bytes {offset}-")
    return int(match[1])


def _with_query(url: str, key: str, value: str) -> str:
    """The URL with one more parameter; what the registry put there stays as it is."""
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), (key, value)]
    return urlunsplit(parts._replace(query=urlencode(query)))
