"""What every implementation of :class:`wherry.store.api.Blobs` has to do.

Subclass in a test module and give it a fixture ``blobs``.
"""

from __future__ import annotations

import hashlib

import pytest

from wherry.errors import DataCorrupt, NotFound
from wherry.model.digest import Digest, digest_of
from wherry.store.api import Blobs

CONTENT = b"some content " * 1000


class BlobsContract:
    """The contract, one promise a test."""

    def test_what_is_put_is_there(self, blobs: Blobs) -> None:
        digest = blobs.put(CONTENT)
        assert digest == digest_of(CONTENT)
        assert blobs.has(digest)
        assert blobs.size(digest) == len(CONTENT)
        assert blobs.read(digest) == CONTENT
        with blobs.open(digest) as stream:
            assert stream.read() == CONTENT
        assert list(blobs.list()) == [digest]

    def test_what_is_missing_is_not_found(self, blobs: Blobs) -> None:
        missing = digest_of(b"missing")
        assert not blobs.has(missing)
        for ask in (blobs.size, blobs.open, blobs.read):
            with pytest.raises(NotFound, match=missing):
                ask(missing)
        blobs.remove(missing)

    def test_writing_in_pieces(self, blobs: Blobs) -> None:
        with blobs.write() as writer:
            writer.write(CONTENT[:5000])
            writer.write(memoryview(CONTENT)[5000:])
            assert list(blobs.list()) == []
            descriptor = writer.commit(digest_of(CONTENT))
        assert (descriptor.digest, descriptor.size) == (digest_of(CONTENT), len(CONTENT))
        assert blobs.read(descriptor.digest) == CONTENT

    def test_leaving_without_commit_drops_it(self, blobs: Blobs) -> None:
        with blobs.write() as writer:
            writer.write(CONTENT)
        assert list(blobs.list()) == []

    def test_another_digest_than_expected_is_refused(self, blobs: Blobs) -> None:
        with blobs.write() as writer:
            writer.write(CONTENT)
            with pytest.raises(DataCorrupt, match="expected"):
                writer.commit(digest_of(b"something else"))
        assert list(blobs.list()) == []

    def test_sha512(self, blobs: Blobs) -> None:
        digest = Digest("sha512:" + hashlib.sha512(CONTENT).hexdigest())
        with blobs.write() as writer:
            writer.write(CONTENT)
            assert writer.commit(digest).digest == digest
        assert blobs.read(digest) == CONTENT

    def test_the_same_content_twice_is_one_blob(self, blobs: Blobs) -> None:
        assert blobs.put(CONTENT) == blobs.put(CONTENT)
        assert len(list(blobs.list())) == 1

    def test_reading_has_a_limit(self, blobs: Blobs) -> None:
        digest = blobs.put(CONTENT)
        with pytest.raises(DataCorrupt, match="larger than 100 bytes"):
            blobs.read(digest, limit=100)

    def test_an_open_blob_outlives_its_removal(self, blobs: Blobs) -> None:
        digest = blobs.put(CONTENT)
        with blobs.open(digest) as stream:
            blobs.remove(digest)
            assert stream.read() == CONTENT
        assert not blobs.has(digest)
