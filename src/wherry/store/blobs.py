"""Content by digest, in files: ``DIRECTORY/ALGORITHM/HEX``, as in an OCI image layout.

What is being written is in ``DIRECTORY/ingest`` under a random name, and moves to its place when
it is complete. A blob is there completely, or it is not there (docs/formats/store.md).
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO, NoReturn
from uuid import uuid4

from wherry.errors import DataCorrupt, InternalError, NotFound, ResourceExhausted
from wherry.fs.atomic import write_all
from wherry.model.digest import Digest, algorithm, hex_of, parse_digest
from wherry.model.image import Descriptor
from wherry.sys.faults import reach

_MEDIA_TYPE = "application/octet-stream"
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_CHUNK = 1024 * 1024


class BlobStore:
    """The Blobs in a directory. Safe to call from several threads."""

    def __init__(self, directory: str) -> None:
        """Makes the directory; drops what an earlier process left half-written."""
        self._directory = os.path.abspath(directory)
        self._ingest = f"{self._directory}/ingest"
        for name in ("sha256", "sha512", "ingest"):
            os.makedirs(f"{self._directory}/{name}", 0o700, exist_ok=True)
        for name in os.listdir(self._ingest):
            os.unlink(f"{self._ingest}/{name}")

    def path(self, digest: Digest) -> str:
        """Where the content is or would be."""
        return f"{self._directory}/{algorithm(digest)}/{hex_of(parse_digest(digest))}"

    def has(self, digest: Digest) -> bool:
        """See :class:`wherry.store.api.Blobs`."""
        return os.path.exists(self.path(digest))

    def size(self, digest: Digest) -> int:
        """See :class:`wherry.store.api.Blobs`."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            raise _not_found(digest) from None

    def open(self, digest: Digest) -> BinaryIO:
        """See :class:`wherry.store.api.Blobs`. The file is seekable and has a descriptor."""
        try:
            return open(self.path(digest), "rb")
        except FileNotFoundError:
            raise _not_found(digest) from None

    def read(self, digest: Digest, limit: int = 8 * 1024 * 1024) -> bytes:
        """See :class:`wherry.store.api.Blobs`."""
        with self.open(digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DataCorrupt(f"the blob {digest} is larger than {limit} bytes")
        if hashlib.new(algorithm(digest), data).hexdigest() != hex_of(digest):
            raise DataCorrupt(f"the blob {digest} is damaged: its content has another digest")
        return data

    def write(self) -> BlobFile:
        """See :class:`wherry.store.api.Blobs`."""
        return BlobFile(self, f"{self._ingest}/{uuid4().hex}")

    def put(self, data: bytes) -> Digest:
        """See :class:`wherry.store.api.Blobs`."""
        with self.write() as writer:
            writer.write(data)
            return writer.commit().digest

    def remove(self, digest: Digest) -> None:
        """See :class:`wherry.store.api.Blobs`. Idempotent; who has it open keeps it."""
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            pass

    def list(self) -> Iterator[Digest]:
        """See :class:`wherry.store.api.Blobs`."""
        for kind in ("sha256", "sha512"):
            for name in sorted(os.listdir(f"{self._directory}/{kind}")):
                yield parse_digest(f"{kind}:{name}")

    def verify(self, digest: Digest) -> None:
        """Read the whole content; DataCorrupt if it is damaged."""
        hasher = hashlib.new(algorithm(digest))
        with self.open(digest) as file:
            while data := file.read(_CHUNK):
                hasher.update(data)
        if hasher.hexdigest() != hex_of(digest):
            raise DataCorrupt(f"the blob {digest} is damaged: its content has another digest")


class BlobFile:
    """A BlobWriter on a file of its own."""

    def __init__(self, store: BlobStore, path: str) -> None:
        self._store = store
        self._path = path
        self._hash = hashlib.sha256()
        self._size = 0
        self._committed = False
        self._fd = os.open(path, _CREATE, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        """See :class:`wherry.store.api.BlobWriter`. ResourceExhausted if the disk is full."""
        try:
            write_all(self._fd, data)
        except OSError as error:
            _raise_sentence(error)
        self._hash.update(data)
        self._size += len(data)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def commit(self, expected: Digest | None = None) -> Descriptor:
        """See :class:`wherry.store.api.BlobWriter`."""
        digest = Digest("sha256:" + self._hash.hexdigest())
        if expected is not None and algorithm(expected) != "sha256":
            digest = self._digest_as(algorithm(expected))
        if expected is not None and digest != expected:
            raise DataCorrupt(f"the content has the digest {digest} where {expected} was expected")
        reach("blob.written")
        try:
            os.rename(self._path, self._store.path(digest))
        except OSError as error:
            _raise_sentence(error)
        reach("blob.placed")
        self._committed = True
        return Descriptor(media_type=_MEDIA_TYPE, digest=digest, size=self._size)

    def _digest_as(self, name: str) -> Digest:
        hasher = hashlib.new(name)
        position = 0
        while data := os.pread(self._fd, _CHUNK, position):
            hasher.update(data)
            position += len(data)
        return Digest(f"{name}:{hasher.hexdigest()}")

    def __enter__(self) -> BlobFile:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self._committed:
                os.unlink(self._path)


def _not_found(digest: Digest) -> NotFound:
    return NotFound(f"there is no blob {digest}")


def _raise_sentence(error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise ResourceExhausted("cannot store content: no space left on device") from error
    raise InternalError(f"cannot store content: {error.strerror}") from error
