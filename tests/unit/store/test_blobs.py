from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.errors import DataCorrupt, InvalidArgument
from wherry.model.digest import Digest
from wherry.store.blobs import BlobStore
from wherry.testing.blobs import CONTENT, BlobsContract


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(str(tmp_path / "blobs"))


class TestBlobStore(BlobsContract):
    pass


def test_damage_is_found(blobs: BlobStore) -> None:
    digest = blobs.put(CONTENT)
    Path(blobs.path(digest)).write_bytes(b"X" + CONTENT[1:])
    for ask in (blobs.read, blobs.verify):
        with pytest.raises(DataCorrupt, match="damaged"):
            ask(digest)


def test_a_crash_leaves_nothing(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        writer = BlobStore(str(tmp_path)).write()
        writer.write(CONTENT)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(os.listdir(tmp_path / "ingest")) == 1
    assert list(BlobStore(str(tmp_path)).list()) == []
    assert os.listdir(tmp_path / "ingest") == []


def test_a_digest_is_no_path(blobs: BlobStore) -> None:
    with pytest.raises(InvalidArgument):
        blobs.has(Digest("sha256:../../../etc/passwd"))
