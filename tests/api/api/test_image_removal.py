"""What goes with an image's name, over the API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import docker
import pytest

from wherry.testing.registry_server import RegistryServer, running_registry

pytestmark = pytest.mark.root


@contextlib.contextmanager
def pushed(client: docker.DockerClient, server: RegistryServer, *tags: str) -> Iterator[str]:
    """An image that has two names here, and those of a repository with their digest."""
    base = client.images.get("busybox")
    repository = f"{server.host}/web"
    for tag in tags:
        assert base.tag(repository, tag)
        client.images.push(repository, tag)
    yield repository
    names = [n for n in client.images.get("busybox").tags if n.startswith(repository)]
    for name in names:
        client.images.remove(name)


def digests(client: docker.DockerClient) -> list[str]:
    return list(client.images.get("busybox").attrs["RepoDigests"])


def test_a_repositorys_digest_goes_with_its_last_tag(client: docker.DockerClient) -> None:
    with (
        running_registry(RegistryServer()) as server,
        pushed(client, server, "1", "2") as repository,
    ):
        (digest,) = digests(client)
        assert digest.startswith(f"{repository}@sha256:")
        client.images.remove(f"{repository}:1")
        assert digests(client) == [digest]
        client.images.remove(f"{repository}:2")
        assert digests(client) == []
        assert client.images.get("busybox").tags == ["busybox:latest"]


def test_a_digest_is_removed_alone(client: docker.DockerClient) -> None:
    with running_registry(RegistryServer()) as server, pushed(client, server, "1") as repository:
        (digest,) = digests(client)
        client.images.remove(digest)
        assert digests(client) == []
        assert f"{repository}:1" in client.images.get("busybox").tags
