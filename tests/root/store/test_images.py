from __future__ import annotations

import gzip
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wherry.errors import DataCorrupt, ResourceExhausted
from wherry.model.digest import Digest
from wherry.model.image import OCI_LAYER_GZIP, Descriptor
from wherry.model.reference import parse_reference
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore
from wherry.sys import mount, namespaces
from wherry.testing.images import (
    ImagesContract,
    add,
    config_of,
    sha256,
    tar_of,
    unpack,
)
from wherry.testing.snapshots import keys, mounted

pytestmark = pytest.mark.root


@dataclass
class Stores:
    """All stores in one directory, as an engine has them."""

    db: Database
    blobs: BlobStore
    snapshots: OverlaySnapshotter
    images: ImageStore

    @classmethod
    def at(cls, directory: Path) -> Stores:
        db = Database(str(directory / "wherry.db"))
        blobs = BlobStore(str(directory / "blobs"))
        snapshots = OverlaySnapshotter(str(directory / "snapshots"), db)
        return cls(db, blobs, snapshots, ImageStore(db, blobs, snapshots))

    def close(self) -> None:
        self.snapshots.close()
        self.db.close()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores.at(tmp_path)
    yield made
    made.close()


@pytest.fixture
def images(stores: Stores) -> ImageStore:
    return stores.images


@pytest.fixture
def snapshots(stores: Stores) -> OverlaySnapshotter:
    return stores.snapshots


class TestImageStore(ImagesContract):
    pass


def test_everything_is_there_after_a_restart(stores: Stores, tmp_path: Path) -> None:
    image = add(stores.images, unpack(stores.images, a="a"), names=("app",))
    again = Stores.at(tmp_path)
    assert again.images.get("app") == image
    assert again.images.list() == (image,)
    again.close()


def test_an_image_that_is_removed_meanwhile_is_whole_or_gone(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that has read its record reads its configuration, too."""
    image = add(stores.images, unpack(stores.images, a="a"), names=("app",))
    fresh = ImageStore(stores.db, stores.blobs, stores.snapshots)  # it has read nothing yet
    removal = threading.Thread(target=fresh.remove, args=(image.id,))
    read = stores.blobs.read

    def remove_first(digest: Digest) -> bytes:
        if not removal.is_alive():
            removal.start()
            removal.join(0.1)  # long enough for one that does not wait for the list
        return read(digest)

    monkeypatch.setattr(stores.blobs, "read", remove_first)
    assert fresh.list() == (image,)
    monkeypatch.undo()
    removal.join()
    assert fresh.list() == ()


def test_a_pulled_layer_is_made_again_from_its_blob(stores: Stores) -> None:
    data = tar_of(a="a")
    compressed = gzip.compress(data)
    digest = stores.blobs.put(compressed)
    layer = unpack(stores.images, a="a")
    blob = Descriptor(media_type=OCI_LAYER_GZIP, digest=digest, size=len(compressed))
    record = type(layer)(diff_id=layer.diff_id, chain_id=layer.chain_id, size=layer.size, blob=blob)
    image = stores.images.add(config_of(record), [record])
    assert image.layers == (record,)
    assert b"".join(stores.images.layer_tar(record)) == data
    stores.images.remove(image.id)
    assert list(stores.blobs.list()) == []


def test_a_foreign_layer_without_its_blob_cannot_be_made_again(stores: Stores) -> None:
    layer = unpack(stores.images, a="a")  # the library's archives end in more zeros than ours
    with pytest.raises(DataCorrupt, match="cannot be made again"):
        list(stores.images.layer_tar(layer))


def test_an_uncompressed_layer_is_its_own_blob(stores: Stores) -> None:
    data = tar_of(a="a")
    stores.blobs.put(data)
    image = add(stores.images, unpack(stores.images, a="a"))
    assert b"".join(stores.images.layer_tar(image.layers[0])) == data
    stores.images.collect_garbage()
    assert stores.blobs.has(sha256(data))
    stores.images.remove(image.id)
    assert list(stores.blobs.list()) == []


def test_blobs_go_with_the_last_image_that_needs_them(stores: Stores) -> None:
    layer = unpack(stores.images, a="a")
    config = config_of(layer)
    platform = stores.blobs.put(
        b'{"schemaVersion":2,"config":{"digest":"%s"}}' % sha256(config).encode()
    )
    index = stores.blobs.put(b'{"manifests":[{"digest":"%s"}]}' % platform.encode())
    name = parse_reference("app").with_digest(index)
    image = stores.images.add(config, [layer], repo_digest=name)
    other = add(stores.images, layer, author="other")
    stray = stores.blobs.put(b"stray")
    assert stores.images.collect_garbage() == ()
    assert not stores.blobs.has(stray)
    assert {index, platform, image.id, other.id} == set(stores.blobs.list())
    stores.images.remove(image.id)
    assert set(stores.blobs.list()) == {other.id}


def crash_at(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpack a layer in another process that dies at a step."""
    pid = os.fork()
    if pid == 0:
        stores = Stores.at(tmp_path)
        monkeypatch.setattr(step, lambda *a, **k: os._exit(9))
        add(stores.images, unpack(stores.images, a="a"), names=("app",))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


@pytest.mark.parametrize(
    "step",
    [
        "wherry.store.layers.apply_layer",
        "wherry.store.layers._verify",
        "wherry.snapshot.overlay.OverlaySnapshotter._rename",
        "wherry.snapshot.trash.Trash.throw",
        "wherry.store.images._check_layers",
        "wherry.store.images.ImageStore._set_reference",
    ],
)
def test_a_crash_leaves_no_half_image(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash_at(step, tmp_path, monkeypatch)
    stores = Stores.at(tmp_path)
    assert stores.images.list() == ()
    stores.images.collect_garbage()
    stores.snapshots.drain()
    assert keys(stores.snapshots) == set()
    assert list(stores.blobs.list()) == []
    assert set(os.listdir(tmp_path / "snapshots")) == {"0", "trash"}
    image = add(stores.images, unpack(stores.images, a="a"), names=("app",))
    with mounted(stores.snapshots, str(image.chain_id)) as root:
        assert (root / "a").read_text() == "a"
    stores.close()


def on_a_small_disk(directory: Path, run: Callable[[Path], None]) -> None:
    """Run in another process, with a file system of four megabytes that only it sees."""
    pid = os.fork()
    if pid == 0:
        try:
            namespaces.unshare(namespaces.CLONE_NEWNS)
            mount.mount("none", "/", "", mount.MS_REC | mount.MS_PRIVATE)
            mount.mount("tmpfs", str(directory), "tmpfs", 0, "size=4m")
            run(directory)
        except BaseException:  # noqa: BLE001  the parent tells
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    on_a_small_disk(tmp_path, fill_the_disk)


def fill_the_disk(small_disk: Path) -> None:
    stores = Stores.at(small_disk)
    before = disk_use(small_disk)
    with pytest.raises(ResourceExhausted, match="cannot unpack 'b': no space left on device"):
        unpack(stores.images, a="a" * 1_000_000, b="b" * 5_000_000)
    with pytest.raises(ResourceExhausted, match="no space left on device"):
        stores.blobs.put(bytes(6_000_000))
    stores.snapshots.drain()
    assert keys(stores.snapshots) == set()
    assert list(stores.blobs.list()) == []
    assert disk_use(small_disk) - before < 300_000  # what the database grew by
    add(stores.images, unpack(stores.images, a="a" * 1_000_000), names=("fits",))
    stores.close()


def disk_use(directory: Path) -> int:
    status = os.statvfs(directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_a_list_asks_the_database_as_often_for_many_images_as_for_one(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = unpack(stores.images, a="a")
    asked: list[str] = []
    query = Database.query
    monkeypatch.setattr(
        Database, "query", lambda db, sql, *values: (asked.append(sql), query(db, sql, *values))[1]
    )

    def queries_of_a_list(expected: int) -> int:
        asked.clear()
        assert len(stores.images.list()) == expected
        return len(asked)

    add(stores.images, layer, names=("app:first",), author="first")
    once = queries_of_a_list(1)
    for number in range(50):
        add(stores.images, layer, names=(f"app:{number}",), author=str(number))
    assert queries_of_a_list(51) == once > 0
