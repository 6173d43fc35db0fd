"""Images that go through a registry from one real store to another, and still run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from wherry.bootstrap import busybox
from wherry.bootstrap.host import PackageHost
from wherry.errors import DataCorrupt
from wherry.model.digest import digest_of
from wherry.model.image import ExecConfig, ImageConfig, RootFs
from wherry.model.reference import parse_reference
from wherry.registry.api import RegistrySettings
from wherry.registry.client import RegistryClient, host_platform
from wherry.snapshot.overlay import OverlaySnapshotter
from wherry.store.api import Image
from wherry.store.blobs import BlobStore
from wherry.store.database import Database
from wherry.store.images import ImageStore
from wherry.testing.registry_images import publish, sample_image, sample_tar
from wherry.testing.registry_server import Answer, RegistryServer, running_registry

pytestmark = pytest.mark.root


@dataclass
class Machine:
    """One machine's store and its registry client."""

    root: Path
    server: RegistryServer

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.db = Database(str(self.root / "state.db"))
        self.blobs = BlobStore(str(self.root / "blobs"))
        self.snapshots = OverlaySnapshotter(str(self.root / "layers"), self.db)
        self.images = ImageStore(self.db, self.blobs, self.snapshots)
        self.client = RegistryClient(RegistrySettings(backoff=0.0), "test")

    def pull(self, name: str) -> Image:
        return self.client.pull(
            parse_reference(f"{self.server.host}/{name}"),
            images=self.images,
            blobs=self.blobs,
            progress=lambda _: None,
        ).image

    def push(self, image: Image, name: str) -> str:
        return self.client.push(
            parse_reference(f"{self.server.host}/{name}"),
            image,
            images=self.images,
            blobs=self.blobs,
            progress=lambda _: None,
        ).digest

    def made_here(self) -> Image:
        """An image of two layers that were made on this machine."""
        program = busybox.find_program(PackageHost({}), lambda _: None)
        first = self.images.apply_layer(busybox.layer(program), parent=None, expected_diff_id=None)
        self.snapshots.prepare("step", first.chain_id)
        Path(self.snapshots.changes_dir("step"), "made").write_text("here\n")
        second = self.images.commit_layer("step")
        assert second is not None
        platform = host_platform()
        config = ImageConfig(
            architecture=platform.architecture,
            os=platform.os,
            rootfs=RootFs(diff_ids=(first.diff_id, second.diff_id)),
            config=ExecConfig(cmd=("sh",)),
        )
        return self.images.add(msgspec.json.encode(config), (first, second))

    def run(self, image: Image, *command: str) -> str:
        assert image.chain_id
        fd = self.snapshots.open_root(image.chain_id)
        try:
            place = ["chroot", f"/proc/self/fd/{fd}", *command]
            return subprocess.run(
                place, check=True, capture_output=True, text=True, pass_fds=(fd,)
            ).stdout
        finally:
            os.close(fd)

    def close(self) -> None:
        self.snapshots.drain()
        self.db.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    with running_registry(RegistryServer()) as server:
        pair = Machine(tmp_path / "one", server), Machine(tmp_path / "two", server)
        yield pair
        for machine in pair:
            machine.close()


def test_an_image_travels_and_runs(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    image = one.made_here()
    digest = one.push(image, "team/box:1")
    arrived = two.pull("team/box:1")
    assert arrived.id == image.id
    assert two.run(arrived, "/bin/cat", "/made") == "here\n"
    assert [layer.diff_id for layer in arrived.layers] == [layer.diff_id for layer in image.layers]
    assert two.push(arrived, "team/copy:1") == digest


def test_names_and_digests_are_recorded(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    digest = one.push(one.made_here(), "team/box:1")
    arrived = two.pull("team/box:1")
    host = one.server.host
    assert arrived.references == (f"{host}/team/box:1",)
    assert arrived.repo_digests == (f"{host}/team/box@{digest}",)
    two.server.requests.clear()
    assert two.pull("team/box:1").id == arrived.id
    assert len(two.server.requests) == 2  # the ping, and the tag's digest


def test_damaged_layer_leaves_nothing(machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    sample = sample_image([sample_tar({"a": b"a"}), sample_tar({"b": b"b" * 100_000})])
    publish(one.server, "bad", "1", sample)
    wrong = Answer(200, bytes(len(sample.blobs[1])))
    one.server.fault = lambda r: wrong if digest_of(sample.blobs[1]) in r.path else None
    with pytest.raises(DataCorrupt):
        one.pull("bad:1")
    assert one.images.list() == ()
    assert not one.blobs.has(digest_of(wrong.body))
    assert all(info.kind == "committed" for info in one.snapshots.list())
    assert os.listdir(one.root / "blobs/ingest") == []
