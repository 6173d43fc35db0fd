"""Pushes to a real server on the loopback from a store in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from wherry.errors import PermissionDenied, Unauthenticated, Unavailable
from wherry.model.digest import digest_of
from wherry.model.image import (
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    ImageConfig,
    Manifest,
    RootFs,
)
from wherry.model.reference import parse_reference
from wherry.registry.api import Credentials, Pushed, RegistrySettings, Status
from wherry.registry.client import RegistryClient
from wherry.store.api import Image
from wherry.testing.registry_images import (
    MemoryBlobs,
    MemoryImages,
    index_of,
    publish,
    sample_image,
    sample_tar,
)
from wherry.testing.registry_server import (
    Answer,
    RegistryServer,
    Request,
    refusal,
    running_registry,
)

TARS = tuple(sample_tar({f"file{n}": bytes([n]) * 50_000}) for n in range(3))


@dataclass
class Pusher:
    """One engine's side of the pushes."""

    server: RegistryServer
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    events: list[Status] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = MemoryImages(self.blobs)
        settings = RegistrySettings(backoff=0.0, attempts=3, certs_dir="/nonexistent")
        self.client = RegistryClient(settings, "test")

    def built(self, tars: tuple[bytes, ...] = TARS) -> Image:
        """An image that was made here: its layers have no compressed form yet."""
        records = []
        for tar in tars:
            parent = records[-1].chain_id if records else None
            stream = io.BytesIO(tar)
            records.append(self.images.apply_layer(stream, parent=parent, expected_diff_id=None))
        diff_ids = tuple(record.diff_id for record in records)
        config = ImageConfig(architecture="amd64", os="linux", rootfs=RootFs(diff_ids=diff_ids))
        return self.images.add(msgspec.json.encode(config), records)

    def pulled(self, name: str) -> Image:
        return self.client.pull(
            parse_reference(f"{self.server.host}/{name}"),
            images=self.images,
            blobs=self.blobs,
            progress=lambda _: None,
        ).image

    def push(
        self, image: Image, name: str = "out:1", credentials: Credentials | None = None
    ) -> Pushed:
        return self.client.push(
            parse_reference(f"{self.server.host}/{name}"),
            image,
            images=self.images,
            blobs=self.blobs,
            progress=self.events.append,
            credentials=credentials,
        )

    def statuses(self) -> list[str]:
        return [event.status for event in self.events]


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry(RegistryServer()) as running:
        yield running


@pytest.fixture
def pusher(server: RegistryServer) -> Pusher:
    return Pusher(server)


def manifest_of(server: RegistryServer, repository: str, tag: str) -> Manifest:
    media_type, data = server.manifests[repository, tag]
    manifest = msgspec.json.decode(data, type=Manifest)
    assert manifest.media_type == media_type
    return manifest


def test_what_was_pushed_can_be_pulled(pusher: Pusher) -> None:
    image = pusher.built()
    pushed = pusher.push(image)
    other = Pusher(pusher.server)
    assert other.pulled("out:1").id == image.id
    assert [other.images.tars[layer.chain_id] for layer in image.layers] == list(TARS)
    media_type, data = pusher.server.manifests["out", "1"]
    assert (media_type, digest_of(data), len(data)) == (OCI_MANIFEST, pushed.digest, pushed.size)
    assert pusher.statuses().count("Pushed") == 3


def test_equal_layers_give_equal_digests(pusher: Pusher) -> None:
    first, second = pusher.push(pusher.built()), Pusher(pusher.server)
    assert second.push(second.built(), "out:2").digest == first.digest
    assert second.statuses().count("Layer already exists") == 3
    assert len(pusher.server.seen("PUT", "/v2/out/blobs/uploads/")) == 4  # three and the config


def test_manifest_is_the_last_thing_sent(pusher: Pusher) -> None:
    pusher.push(pusher.built())
    writes = [r.path for r in pusher.server.requests if r.method == "PUT"]
    assert writes[-1] == "/v2/out/manifests/1"
    assert not any("manifests" in path for path in writes[:-1])


def test_layers_of_a_pulled_image_are_mounted(server: RegistryServer, pusher: Pusher) -> None:
    publish(server, "base", "1", sample_image(TARS))
    pusher.push(pusher.pulled("base:1"))
    assert pusher.statuses().count("Mounted from base") == 3
    config_only = server.seen("PUT", "/v2/out/blobs/uploads/")
    assert len(config_only) == 1


def test_registry_that_does_not_mount_gets_an_upload(
    server: RegistryServer, pusher: Pusher
) -> None:
    server.mounts = False
    publish(server, "base", "1", sample_image(TARS))
    pusher.push(pusher.pulled("base:1"))
    assert pusher.statuses().count("Pushed") == 3
    assert Pusher(server).pulled("out:1").id == sample_image(TARS).image_id


@pytest.mark.parametrize("kind", [DOCKER_MANIFEST, OCI_MANIFEST])
def test_a_pulled_image_keeps_its_digest(server: RegistryServer, pusher: Pusher, kind: str) -> None:
    """Whatever the spaces and annotations in its manifest are, and through an index, too."""
    sample = sample_image(TARS, manifest_type=kind)
    manifest = sample.manifest_json.replace(b"{", b'{ "annotations": {"a": "b"},', 1)
    publish(server, "base", "", sample)
    digest = server.add_manifest("base", "", kind, manifest)
    entry = {
        "mediaType": kind,
        "digest": digest,
        "size": len(manifest),
        "platform": {"os": "linux", "architecture": "amd64"},
    }
    server.add_manifest("base", "1", OCI_INDEX, index_of([entry], OCI_INDEX))
    assert pusher.push(pusher.pulled("base:1")).digest == digest
    assert server.manifests["out", "1"] == (kind, manifest)


def test_the_pushed_digest_is_recorded(pusher: Pusher) -> None:
    image = pusher.built()
    pushed = pusher.push(image)
    assert pusher.images.get(image.id).repo_digests == (
        f"{pusher.server.host}/out@{pushed.digest}",
    )


def test_types_of_the_base_are_kept(server: RegistryServer, pusher: Pusher) -> None:
    docker = sample_image(TARS[:1], layer_type=DOCKER_LAYER_GZIP, manifest_type=DOCKER_MANIFEST)
    publish(server, "base", "1", docker)
    base = pusher.pulled("base:1")
    record = pusher.images.apply_layer(
        io.BytesIO(TARS[1]), parent=base.chain_id, expected_diff_id=None
    )
    layers = (*base.layers, record)
    diff_ids = tuple(layer.diff_id for layer in layers)
    config = msgspec.structs.replace(base.config, rootfs=RootFs(diff_ids=diff_ids))
    pusher.push(pusher.images.add(msgspec.json.encode(config), layers))
    manifest = manifest_of(server, "out", "1")
    assert manifest.media_type == DOCKER_MANIFEST
    assert {layer.media_type for layer in manifest.layers} == {DOCKER_LAYER_GZIP}


def test_types_are_those_of_oci_otherwise(pusher: Pusher) -> None:
    pusher.push(pusher.built())
    manifest = manifest_of(pusher.server, "out", "1")
    assert {layer.media_type for layer in manifest.layers} == {OCI_LAYER_GZIP}


def test_upload_that_fails_is_begun_again(pusher: Pusher) -> None:
    failed: list[Request] = []

    def fault(request: Request) -> Answer | None:
        if request.method == "PUT" and "/uploads/" in request.path and not failed:
            failed.append(request)
            return refusal(502, "UNKNOWN", "bad gateway")
        return None

    pusher.server.fault = fault
    pusher.push(pusher.built())
    assert len(pusher.server.seen("POST", "/v2/out/blobs/uploads/")) == 5


def test_no_rights(pusher: Pusher) -> None:
    server = pusher.server
    server.auth, server.username, server.password = "bearer", "me", "secret"
    with pytest.raises(Unauthenticated, match="unauthorized: authentication required"):
        pusher.push(pusher.built())
    assert server.manifests == {}
    pusher.push(pusher.built(), credentials=Credentials(username="me", password="secret"))
    assert ("out", "1") in server.manifests
    denied = refusal(403, "DENIED", "requested access to the resource is denied")
    server.fault = lambda r: denied if "/blobs/" in r.path else None
    with pytest.raises(PermissionDenied, match=r"^denied: requested access"):
        pusher.push(pusher.built(), "other:1", Credentials(username="me", password="secret"))


def test_manifest_that_is_refused(pusher: Pusher) -> None:
    refused = refusal(400, "MANIFEST_INVALID", "manifest invalid")
    pusher.server.fault = lambda r: refused if r.method == "PUT" and "manif" in r.path else None
    with pytest.raises(Unavailable, match=r"^manifest invalid: manifest invalid$"):
        pusher.push(pusher.built())


def test_log_in(server: RegistryServer, pusher: Pusher) -> None:
    server.auth, server.username, server.password = "bearer", "me", "secret"
    pusher.client.log_in(server.host, Credentials(username="me", password="secret"))
    with pytest.raises(Unauthenticated, match="incorrect username or password"):
        pusher.client.log_in(f"http://{server.host}", Credentials(username="me", password="no"))
