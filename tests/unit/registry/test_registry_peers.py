"""Against the registry that Debian ships, filled and read by skopeo."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from wherry.model.image import ImageConfig, RootFs
from wherry.model.reference import parse_reference
from wherry.registry.api import RegistrySettings
from wherry.registry.client import RegistryClient
from wherry.testing.registry_images import (
    MemoryBlobs,
    MemoryImages,
    Sample,
    sample_image,
    sample_tar,
)

TARS = (sample_tar({"a": b"a" * 100_000}), sample_tar({"b": b"b"}))

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path, need: Callable[[str], None]) -> Iterator[str]:
    """A running docker-registry: its host and port."""
    need("docker-registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(_CONFIG.format(root=tmp_path / "data", port=port))
    process = subprocess.Popen(["docker-registry", "serve", config], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)  # nothing announces that it listens


def write_layout(directory: Path, sample: Sample) -> None:
    """An OCI image layout (image-spec, image-layout.md)."""
    blobs = directory / "blobs/sha256"
    blobs.mkdir(parents=True)
    for data in (*sample.blobs, sample.config_json, sample.manifest_json):
        store = MemoryBlobs()
        (blobs / store.put(data).partition(":")[2]).write_bytes(data)
    entry = {
        "mediaType": sample.media_type,
        "digest": sample.digest,
        "size": len(sample.manifest_json),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def skopeo(*arguments: str) -> str:
    command = ["skopeo", "--insecure-policy", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.fixture
def images() -> MemoryImages:
    return MemoryImages(MemoryBlobs())


@pytest.fixture
def client() -> RegistryClient:
    return RegistryClient(RegistrySettings(backoff=0.01), "test")


@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_what_skopeo_pushed_can_be_pulled(
    registry: str,
    tmp_path: Path,
    need: Callable[[str], None],
    images: MemoryImages,
    client: RegistryClient,
    form: str,
) -> None:
    need("skopeo")
    sample = sample_image(TARS)
    write_layout(tmp_path / "layout", sample)
    copy = ("copy", "--quiet", "--dest-tls-verify=false", f"--format={form}")
    skopeo(*copy, f"oci:{tmp_path}/layout:1", f"docker://{registry}/team/app:1")
    pulled = client.pull(
        parse_reference(f"{registry}/team/app:1"),
        images=images,
        blobs=images.blobs,
        progress=lambda _: None,
    )
    layers = pulled.image.layers
    assert [images.tars[layer.chain_id] for layer in layers] == list(TARS)


def test_what_was_pushed_is_read_by_skopeo_and_mounted_again(
    registry: str, need: Callable[[str], None], images: MemoryImages, client: RegistryClient
) -> None:
    need("skopeo")
    first = images.apply_layer(io.BytesIO(TARS[0]), parent=None, expected_diff_id=None)
    second = images.apply_layer(io.BytesIO(TARS[1]), parent=first.chain_id, expected_diff_id=None)
    rootfs = RootFs(diff_ids=(first.diff_id, second.diff_id))
    config = ImageConfig(architecture="amd64", os="linux", rootfs=rootfs)
    image = images.add(msgspec.json.encode(config), [first, second])
    target = parse_reference(f"{registry}/team/made:1")
    statuses: list[str] = []
    pushed = client.push(target, image, images=images, blobs=images.blobs, progress=lambda _: None)
    inspect = skopeo("inspect", "--tls-verify=false", f"docker://{registry}/team/made:1")
    assert json.loads(inspect)["Digest"] == pushed.digest
    pulled = client.pull(target, images=images, blobs=images.blobs, progress=lambda _: None)
    client.push(
        parse_reference(f"{registry}/team/copy:1"),
        pulled.image,
        images=images,
        blobs=images.blobs,
        progress=lambda event: statuses.append(event.status),
    )
    assert statuses.count("Mounted from team/made") == 2
