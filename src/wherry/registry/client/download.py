"""Blobs from a registry into the store: resumed, counted, verified."""

from __future__ import annotations

import time
from collections.abc import Iterator

from wherry.errors import DataCorrupt
from wherry.model.digest import short
from wherry.model.image import Descriptor
from wherry.registry.api import Progress, Status
from wherry.registry.client.errors import unreachable
from wherry.registry.client.repository import Repository
from wherry.registry.client.session import TRANSIENT, Response
from wherry.store.api import Blobs, BlobWriter

_CHUNK = 256 * 1024
_INTERVAL = 0.1  # seconds between two events of one layer


class Meter:
    """Reports how far something is, not too often."""

    def __init__(self, progress: Progress, status: str, name: str, total: int) -> None:
        self._progress = progress
        self._status = status
        self._name = name
        self._total = total
        self._next = 0.0

    def at(self, current: int) -> None:
        now = time.monotonic()
        if self._total and (now >= self._next or current == self._total):
            self._next = now + _INTERVAL
            self._progress(
                Status(status=self._status, id=self._name, current=current, total=self._total)
            )


class Downloader:
    """Used by several threads at once, each with another layer."""

    def __init__(self, repository: Repository, blobs: Blobs, progress: Progress) -> None:
        self._repository = repository
        self._session = repository.session
        self._blobs = blobs
        self._progress = progress

    def fetch(self, layer: Descriptor) -> None:
        """Get one blob. DataCorrupt if it is not what its descriptor says."""
        name = short(layer.digest)
        if not self._blobs.has(layer.digest):
            with self._blobs.write() as writer:
                self._receive(layer, writer)
                self._progress(Status(status="Verifying Checksum", id=name))
                writer.commit(layer.digest)
        self._progress(Status(status="Download complete", id=name))

    def _receive(self, layer: Descriptor, writer: BlobWriter) -> None:
        """Write all bytes of a blob, from as many answers as it takes.

        Attempts are counted from the last one that brought something.
        """
        meter = Meter(self._progress, "Downloading", short(layer.digest), layer.size)
        received, failed = 0, 0
        while received < layer.size or layer.size == 0:
            before = received
            try:
                for part in self._parts(layer, received, failed):
                    writer.write(part)
                    received += len(part)
                    meter.at(received)
                if received >= layer.size:
                    return
                raise ConnectionError("the answer ended early")
            except TRANSIENT as error:
                failed = 0 if received > before else failed + 1
                if failed >= self._session.settings.attempts:
                    url = f"{self._session.endpoint.base}{self._repository.reference.path}"
                    raise unreachable("GET", url, error) from error
                self._session.wait(failed)

    def _parts(self, layer: Descriptor, offset: int, attempt: int) -> Iterator[bytes]:
        """What comes after ``offset``, until the answer ends."""
        with self._repository.blob(layer, offset, attempt) as (response, start):
            _skip(response, offset - start)
            left = layer.size - offset
            while part := response.read(_CHUNK):
                self._session.check_cancelled()
                left -= len(part)
                if left < 0:
                    raise DataCorrupt(
                        f"the registry sent more for layer {layer.digest} than its {layer.size} "
                        "bytes"
                    )
                yield part


def _skip(response: Response, count: int) -> None:
    while count > 0 and (part := response.read(min(count, _CHUNK))):
        count -= len(part)
