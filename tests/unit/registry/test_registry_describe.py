"""Asking a registry about an image without getting it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from wherry.errors import DataCorrupt, NotFound
from wherry.model.digest import digest_of
from wherry.model.image import OCI_INDEX, OCI_MANIFEST, Platform
from wherry.model.reference import parse_reference
from wherry.registry.api import Described, RegistrySettings
from wherry.registry.client import RegistryClient
from wherry.testing.registry_images import index_of, publish, sample_image, sample_tar
from wherry.testing.registry_server import RegistryServer, running_registry


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry(RegistryServer()) as running:
        yield running


def _describe(server: RegistryServer, name: str) -> Described:
    settings = RegistrySettings(backoff=0.0, attempts=1, certs_dir="/nonexistent")
    return RegistryClient(settings, "test").describe(parse_reference(f"{server.host}/{name}"))


def test_an_image_for_one_machine(server: RegistryServer) -> None:
    sample = sample_image([sample_tar({"a": b"1"})], architecture="arm64")
    publish(server, "app", "1", sample)
    found = _describe(server, "app:1")
    assert found.descriptor.digest == sample.digest
    assert found.descriptor.media_type == OCI_MANIFEST
    assert found.descriptor.size == len(sample.manifest_json)
    assert found.platforms == (Platform(architecture="arm64", os="linux"),)
    assert not server.seen("GET", str(digest_of(sample.blobs[0])))  # no layer was got


def test_an_index_tells_its_machines_and_no_attestations(server: RegistryServer) -> None:
    platforms = [("amd64", "linux"), ("arm64", "linux"), ("unknown", "unknown")]
    entries: list[dict[str, object]] = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": digest_of(architecture.encode()),
            "size": 1,
            "platform": {"architecture": architecture, "os": os},
        }
        for architecture, os in platforms
    ]
    data = index_of(entries, OCI_INDEX)
    server.add_manifest("app", "2", OCI_INDEX, data)
    found = _describe(server, "app:2")
    assert (found.descriptor.media_type, found.descriptor.size) == (OCI_INDEX, len(data))
    assert [p.architecture for p in found.platforms] == ["amd64", "arm64"]


def test_what_is_not_there_or_is_damaged(server: RegistryServer) -> None:
    with pytest.raises(NotFound):
        _describe(server, "none:1")
    server.add_manifest(
        "app", "3", OCI_INDEX, b'{"mediaType": "%s", "manifests": 7}' % OCI_INDEX.encode()
    )
    with pytest.raises(DataCorrupt):
        _describe(server, "app:3")
