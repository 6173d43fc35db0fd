"""The engine is killed while images come from a registry or go to one, and while it sends a file
system: nothing half received stays, nothing half sent is taken for a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.conftest import EngineProcess
from tests.faults.findings import wait_until_settled
from tests.faults.moments import Moments
from tests.patience import patience

from wherry.client import Client
from wherry.errors import WherryError
from wherry.model.digest import digest_of
from wherry.sys.faults import VARIABLE, Point
from wherry.testing.registry_images import Sample, publish, sample_image, sample_tar
from wherry.testing.registry_server import Answer, RegistryServer, Request, running_registry

pytestmark = pytest.mark.root

EngineMaker = Callable[..., EngineProcess]
_POINTS: tuple[Point, ...] = (
    "blob.written",
    "blob.placed",
    "layer.unpacked",
    "layer.committed",
    "layer.recorded",
    "image.recorded",
)
_ENOUGH = patience(20.0)
_LONG = 100_000


@pytest.fixture
def moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Moments]:
    made = Moments(tmp_path / "moments")
    monkeypatch.setenv(VARIABLE, made.address)
    yield made
    made.close()


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with running_registry(RegistryServer()) as server:
        yield server


def _sample(word: str) -> Sample:
    """An image of two layers that no other has."""
    files = [{"first": word.encode()}, {"second": word.encode() * _LONG}]
    return sample_image([sample_tar(one) for one in files])


class _Fault:
    """Kills the engine at its request of a kind; cuts off the answers to ``cuts`` of them before,
    so that the engine is killed with a half in its hands."""

    def __init__(self, engine: EngineProcess, method: str, part: str, cuts: int = 0) -> None:
        self.struck = False
        self._engine, self._method, self._part, self._cuts = engine, method, part, cuts

    def __call__(self, request: Request) -> Answer | None:
        if self.struck or request.method != self._method or self._part not in request.path:
            return None
        if self._cuts:
            self._cuts -= 1
            return Answer(200, bytes(1000), cut_after=10)
        self.struck = True
        _kill(self._engine)
        return None


def _kill(engine: EngineProcess) -> None:
    assert engine.process is not None
    engine.process.kill()
    engine.process.wait(_ENOUGH)


def _images(client: Client) -> list[str]:
    return [name for image in client.images.list() for name in image.repo_tags]


@pytest.mark.parametrize("what", ["manifests", "blobs", "half a blob"])
def test_a_pull_is_done_again_after_a_kill_at_a_request(
    new_engine: EngineMaker, registry: RegistryServer, what: str
) -> None:
    engine = new_engine()
    client = engine.start()
    sample = _sample(what)
    publish(registry, "some/image", "1", sample)
    part = f"blobs/{digest_of(sample.blobs[1])}" if "blob" in what else what
    registry.fault = fault = _Fault(engine, "GET", part, cuts=1 if "half" in what else 0)
    with pytest.raises((WherryError, OSError)):
        client.images.pull(f"{registry.host}/some/image:1")
    assert fault.struck
    _pull_again(engine, registry, "some/image:1", what)


def test_a_pull_is_done_again_after_a_kill_at_any_point(
    new_engine: EngineMaker, registry: RegistryServer, moments: Moments
) -> None:
    engine = new_engine()
    client = engine.start()
    for number, point in enumerate(_POINTS):
        publish(registry, "some/image", str(number), _sample(point))
        moments.arm(point, lambda pid: _kill(engine))
        with pytest.raises((WherryError, OSError)):
            client.images.pull(f"{registry.host}/some/image:{number}")
        assert moments.disarm(_ENOUGH), point
        client = _pull_again(engine, registry, f"some/image:{number}", point)


def _pull_again(engine: EngineProcess, registry: RegistryServer, name: str, word: str) -> Client:
    """The next engine has no half image and takes the whole one."""
    client = engine.start()
    assert not wait_until_settled(engine, client)
    client.images.pull(f"{registry.host}/{name}")
    assert f"{registry.host}/{name}" in _images(client)
    assert not wait_until_settled(engine, client)
    made = client.containers.create(f"{registry.host}/{name}", ["nothing"])
    with client.session.request("GET", f"/containers/{made.id}/export") as response:
        assert word.encode() * _LONG in b"".join(response.chunks())
    made.remove()
    return client


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_push_is_done_again_after_a_kill(
    new_engine: EngineMaker, registry: RegistryServer, method: str
) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    name = f"{registry.host}/pushed:1"
    client.images.tag("busybox", name)
    registry.fault = fault = _Fault(engine, method, "/blobs/uploads/")
    with pytest.raises((WherryError, OSError)):
        client.images.push(name)
    assert fault.struck
    assert ("pushed", "1") not in registry.manifests
    client = engine.start()
    client.images.push(name)
    assert ("pushed", "1") in registry.manifests


@pytest.mark.parametrize("path", ["/containers/box/export", "/images/get?names=big"])
def test_half_an_archive_is_no_archive(new_engine: EngineMaker, path: str) -> None:
    engine = new_engine()
    client = engine.start()
    client.images.bootstrap("busybox")
    script = "head -c 30000000 /dev/zero > /zeros"
    box = client.containers.launch("busybox", ["sh", "-c", script], name="box")
    assert box.wait() == 0
    client.session.post("/commit", {"container": "box", "repo": "big"}, json={})
    with client.session.request("GET", path) as response:
        chunks = response.chunks()
        next(chunks)
        _kill(engine)
        with pytest.raises((WherryError, OSError)):
            list(chunks)
    client = engine.start()
    assert not wait_until_settled(engine, client)
    client.containers.get("box").remove()
