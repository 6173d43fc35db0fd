"""Pulls from a real server on the loopback into a store in memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import zstandard

from wherry.errors import DataCorrupt, NotFound, NotSupported, Unauthenticated, Unavailable
from wherry.model.digest import digest_of
from wherry.model.image import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Platform,
)
from wherry.model.reference import parse_reference
from wherry.registry.api import Cancelled, Credentials, Pulled, RegistrySettings, Status
from wherry.registry.client import RegistryClient
from wherry.testing.registry_images import (
    MemoryBlobs,
    MemoryImages,
    Sample,
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

AMD64 = Platform(os="linux", architecture="amd64")
TARS = tuple(sample_tar({f"file{n}": bytes([n]) * 50_000}) for n in range(4))
SETTINGS = RegistrySettings(backoff=0.0, attempts=4, certs_dir="/nonexistent")


@dataclass
class Puller:
    """One engine's side of the pulls."""

    server: RegistryServer
    settings: RegistrySettings = SETTINGS
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    events: list[Status] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.images = MemoryImages(self.blobs)

    def pull(
        self,
        name: str = "app:1",
        credentials: Credentials | None = None,
        platform: Platform | None = AMD64,
    ) -> Pulled:
        return RegistryClient(self.settings, "test").pull(
            parse_reference(f"{self.server.host}/{name}"),
            images=self.images,
            blobs=self.blobs,
            progress=self.events.append,
            platform=platform,
            credentials=credentials,
            cancel=self.cancel,
        )

    def statuses(self) -> list[str]:
        return [event.status for event in self.events]


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry(RegistryServer()) as running:
        yield running


@pytest.fixture
def puller(server: RegistryServer) -> Puller:
    return Puller(server)


@pytest.fixture
def sample(server: RegistryServer) -> Sample:
    image = sample_image(TARS)
    publish(server, "app", "1", image)
    return image


def once(pattern: str, answer: Callable[[Request], Answer]) -> Callable[[Request], Answer | None]:
    """A fault for the first request whose path holds ``pattern``."""
    turns = itertools.count()
    lock = threading.Lock()

    def fault(request: Request) -> Answer | None:
        if pattern not in request.path:
            return None
        with lock:
            return answer(request) if next(turns) == 0 else None

    return fault


def test_all_layers_arrive_in_order(puller: Puller, sample: Sample) -> None:
    pulled = puller.pull()
    assert pulled.image.id == sample.image_id
    assert pulled.digest == sample.digest
    assert not pulled.up_to_date
    assert [puller.images.tars[layer.chain_id] for layer in pulled.image.layers] == list(TARS)
    assert [layer.blob.digest for layer in pulled.image.layers if layer.blob] == [
        digest_of(blob) for blob in sample.blobs
    ]
    assert pulled.image.references == (f"{puller.server.host}/app:1",)
    assert pulled.image.repo_digests == (f"{puller.server.host}/app@{sample.digest}",)


def test_progress_tells_each_layer_in_dockers_words(puller: Puller, sample: Sample) -> None:
    puller.pull()
    name = digest_of(sample.blobs[0])[7:19]
    told = [event.status for event in puller.events if event.id == name]
    order = list(dict.fromkeys(told))
    assert order[0] == "Pulling fs layer"
    assert order[-1] == "Pull complete"
    assert order.index("Downloading") < order.index("Verifying Checksum")
    assert order.index("Download complete") < order.index("Extracting")


def test_second_pull_asks_for_the_digest_only(puller: Puller, sample: Sample) -> None:
    puller.pull()
    puller.server.requests.clear()
    assert puller.pull().up_to_date
    assert [(r.method, r.path) for r in puller.server.requests] == [
        ("GET", "/v2/"),
        ("HEAD", "/v2/app/manifests/1"),
    ]


def test_layers_that_are_there_are_not_fetched(puller: Puller, sample: Sample) -> None:
    puller.pull()
    more = sample_image([*TARS, sample_tar({"new": b"x"})])
    publish(puller.server, "app", "2", more)
    puller.server.requests.clear()
    puller.pull("app:2")
    fetched = [r.path.rpartition("/")[2] for r in puller.server.seen("GET", ".*/blobs/")]
    assert sorted(fetched) == sorted([digest_of(more.blobs[4]), more.image_id])
    assert puller.statuses().count("Already exists") == 4


def test_by_digest(puller: Puller, sample: Sample) -> None:
    assert puller.pull(f"app@{sample.digest}").image.id == sample.image_id
    assert puller.images.list()[0].references == ()


def test_docker_types_and_zstd_and_uncompressed(server: RegistryServer, puller: Puller) -> None:
    docker = sample_image(
        TARS,
        layer_type=DOCKER_LAYER_GZIP,
        manifest_type=DOCKER_MANIFEST,
        config_type=DOCKER_CONFIG,
    )
    publish(server, "docker", "1", docker)
    packed = [zstandard.compress(TARS[0]), TARS[1]]
    publish(server, "mixed", "1", sample_image(TARS[:2], blobs=packed, layer_type=OCI_LAYER_ZSTD))
    assert len(puller.pull("docker:1").image.layers) == 4
    assert len(puller.pull("mixed:1").image.layers) == 2


def test_image_without_layers_and_with_one_layer_twice(
    server: RegistryServer, puller: Puller
) -> None:
    publish(server, "empty", "1", sample_image([]))
    publish(server, "twice", "1", sample_image([TARS[0], TARS[0]]))
    assert puller.pull("empty:1").image.layers == ()
    assert len(puller.pull("twice:1").image.layers) == 2


def test_lost_connection_is_resumed_where_it_broke(puller: Puller, sample: Sample) -> None:
    blob = sample.blobs[0]
    puller.server.fault = once(digest_of(blob), lambda _: Answer(200, blob, cut_after=100))
    puller.pull()
    ranges = [r.headers.get("range") for r in puller.server.seen("GET", f".*{digest_of(blob)}")]
    assert ranges == [None, "bytes=100-"]


def test_lost_connection_without_ranges_starts_again(puller: Puller, sample: Sample) -> None:
    blob = sample.blobs[0]
    puller.server.ranges = False
    puller.server.fault = once(digest_of(blob), lambda _: Answer(200, blob, cut_after=100))
    assert puller.pull().image.id == sample.image_id


def test_a_layer_that_never_ends_is_given_up(puller: Puller, sample: Sample) -> None:
    blob = sample.blobs[0]

    def fault(request: Request) -> Answer | None:
        cut = digest_of(blob) in request.path
        return Answer(200, b"x" * len(blob), cut_after=0) if cut else None

    puller.server.fault = fault
    with pytest.raises(Unavailable, match='Get "http://127'):
        puller.pull()
    assert len(puller.server.seen("GET", f".*{digest_of(blob)}")) == SETTINGS.attempts
    assert puller.images.list() == ()


@pytest.mark.parametrize("status", [429, 503])
def test_trouble_that_passes(puller: Puller, sample: Sample, status: int) -> None:
    busy = refusal(status, "TOOMANYREQUESTS", "slow down", **{"Retry-After": "0"})
    puller.server.fault = once("/manifests/", lambda _: busy)
    assert puller.pull().image.id == sample.image_id


def test_a_registry_that_wants_an_hour_gets_its_error_reported(
    puller: Puller, sample: Sample
) -> None:
    busy = refusal(429, "TOOMANYREQUESTS", "pull rate limit", **{"Retry-After": "3600"})
    puller.server.fault = lambda r: busy if "/manifests/" in r.path else None
    with pytest.raises(Unavailable, match="toomanyrequests: pull rate limit"):
        puller.pull()


def test_wrong_layer_is_refused_and_leaves_no_image(puller: Puller, sample: Sample) -> None:
    wrong = bytes(len(sample.blobs[1]))
    puller.server.fault = once(digest_of(sample.blobs[1]), lambda _: Answer(200, wrong))
    with pytest.raises(DataCorrupt):
        puller.pull()
    assert puller.images.list() == ()
    assert not puller.blobs.has(digest_of(wrong))


def test_more_bytes_than_promised_are_not_kept(puller: Puller, sample: Sample) -> None:
    blob = sample.blobs[0]
    puller.server.fault = lambda r: (
        Answer(200, blob + b"more") if digest_of(blob) in r.path else None
    )
    with pytest.raises(DataCorrupt, match=f"more for layer {digest_of(blob)}"):
        puller.pull()


def test_manifest_that_does_not_match_its_digest(puller: Puller, sample: Sample) -> None:
    other = sample_image(TARS[:1])
    puller.server.fault = lambda r: (
        Answer(200, other.manifest_json, {"Content-Type": OCI_MANIFEST})
        if r.method == "GET" and "/manifests/" in r.path
        else None
    )
    with pytest.raises(DataCorrupt, match=str(sample.digest)):
        puller.pull()


def test_wrong_diff_id(server: RegistryServer, puller: Puller) -> None:
    swapped = sample_image(TARS[:1], blobs=[TARS[1]])
    publish(server, "app", "1", swapped)
    with pytest.raises(DataCorrupt, match="diff id"):
        puller.pull()


def test_damaged_gzip(server: RegistryServer, puller: Puller) -> None:
    blob = bytearray(sample_image(TARS[:1]).blobs[0])
    blob[len(blob) // 2] ^= 0xFF
    publish(server, "app", "1", sample_image(TARS[:1], blobs=[bytes(blob)]))
    with pytest.raises(DataCorrupt, match=r"damaged|diff id"):
        puller.pull()


def test_unknown_tag_repository_and_denied(puller: Puller, sample: Sample) -> None:
    host = puller.server.host
    with pytest.raises(NotFound) as unknown:
        puller.pull("app:no")
    assert str(unknown.value) == (
        f"manifest for {host}/app:no not found: manifest unknown: manifest unknown"
    )
    denied = refusal(403, "DENIED", "requested access to the resource is denied")
    puller.server.fault = lambda r: denied if "/manifests/" in r.path else None
    with pytest.raises(NotFound) as refused:
        puller.pull()
    assert str(refused.value) == (
        f"pull access denied for {host}/app, repository does not exist or may require "
        "'docker login': denied: requested access to the resource is denied"
    )


def test_text_of_a_registry_cannot_break_the_sentence(puller: Puller, sample: Sample) -> None:
    bad = refusal(403, "DENIED", "no\n\x1b[31m" + "x" * 10_000)
    puller.server.fault = lambda r: bad if "/manifests/" in r.path else None
    with pytest.raises(NotFound) as refused:
        puller.pull()
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


def entry(sample: Sample, architecture: str, **more: object) -> dict[str, object]:
    platform = {"os": "linux", "architecture": architecture, **more}
    return {
        "mediaType": sample.media_type,
        "digest": sample.digest,
        "size": len(sample.manifest_json),
        "platform": platform,
    }


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_INDEX])
def test_platform_is_chosen_and_attestations_are_skipped(
    server: RegistryServer, puller: Puller, kind: str
) -> None:
    amd, arm = sample_image(TARS[:1]), sample_image(TARS[1:2], architecture="arm64")
    attestation = {
        **entry(amd, "unknown"),
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    for one in (amd, arm):
        publish(server, "app", "", one)
    index = index_of([attestation, entry(arm, "arm64", variant="v8"), entry(amd, "amd64")], kind)
    digest = server.add_manifest("app", "1", kind, index)
    assert puller.pull().image.id == amd.image_id
    arm64 = puller.pull(platform=Platform(os="linux", architecture="arm64"))
    assert arm64.image.id == arm.image_id
    assert arm64.digest == digest
    with pytest.raises(NotFound, match=r"no matching manifest for linux/s390x in .* linux/amd64"):
        puller.pull(platform=Platform(os="linux", architecture="s390x"))


def test_single_image_for_another_platform(server: RegistryServer, puller: Puller) -> None:
    publish(server, "app", "1", sample_image(TARS[:1], architecture="arm64"))
    with pytest.raises(NotFound, match="is there for linux/arm64 only"):
        puller.pull()
    publish(server, "win", "1", sample_image([], os="windows"))
    with pytest.raises(NotFound, match='image operating system "windows"'):
        puller.pull("win:1", platform=None)


def test_what_is_no_image_is_refused(server: RegistryServer, puller: Puller) -> None:
    helm = sample_image([], config_type="application/vnd.cncf.helm.config.v1+json")
    publish(server, "chart", "1", helm)
    with pytest.raises(NotSupported, match="no container image but"):
        puller.pull("chart:1")
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    server.add_manifest("old", "1", kind, b'{"schemaVersion": 1}')
    with pytest.raises(NotSupported, match="schema 1"):
        puller.pull("old:1")
    server.add_manifest("bad", "1", OCI_MANIFEST, b'{"schemaVersion": 2')
    with pytest.raises(DataCorrupt, match="damaged manifest"):
        puller.pull("bad:1")


def test_endless_manifest_is_cut_off(server: RegistryServer, puller: Puller) -> None:
    server.add_manifest("app", "1", OCI_MANIFEST, b" " * (5 * 1024 * 1024))
    with pytest.raises(Unavailable, match="larger than"):
        puller.pull()


@pytest.mark.parametrize("field_name", ["token", "access_token"])
def test_bearer_token_with_the_scope(puller: Puller, sample: Sample, field_name: str) -> None:
    puller.server.auth, puller.server.token_field = "bearer", field_name
    puller.pull()
    (asked,) = puller.server.seen("GET", "/token")
    assert asked.query == {"service": "test", "scope": "repository:app:pull"}
    assert "authorization" not in asked.headers


def test_credentials_go_to_the_token_service(puller: Puller, sample: Sample) -> None:
    server = puller.server
    server.auth, server.anonymous_pull = "bearer", False
    server.username, server.password = "me", "secret"
    with pytest.raises(NotFound, match=r"pull access denied for .*: unauthorized"):
        puller.pull()
    puller = Puller(server)
    puller.pull(credentials=Credentials(username="me", password="secret"))
    with pytest.raises(Unauthenticated, match="incorrect username or password"):
        Puller(server).pull(credentials=Credentials(username="me", password="wrong"))
    identity = Credentials(username="<token>", password="secret")
    assert Puller(server).pull(credentials=identity).image.id == sample.image_id
    (posted,) = server.seen("POST", "/token")
    assert b"grant_type=refresh_token" in posted.body


def test_basic(puller: Puller, sample: Sample) -> None:
    server = puller.server
    server.auth, server.username, server.password = "basic", "me", "secret"
    with pytest.raises(NotFound, match="pull access denied"):
        puller.pull()
    right = Credentials(username="me", password="secret")
    assert Puller(server).pull(credentials=right).image.id == sample.image_id


def test_redirect_to_another_host_loses_the_credentials(puller: Puller, sample: Sample) -> None:
    with running_registry(RegistryServer(blobs=puller.server.blobs)) as storage:
        storage.owners = puller.server.owners
        server = puller.server
        server.auth, server.username, server.password = "basic", "me", "secret"
        server.fault = lambda r: (
            Answer(307, b"", {"Location": f"http://{storage.host}{r.path}"})
            if "/blobs/" in r.path
            else None
        )
        puller.pull(credentials=Credentials(username="me", password="secret"))
        assert len(storage.requests) == 5
        assert not any("authorization" in r.headers for r in storage.requests)
        assert any("authorization" in r.headers for r in server.requests)


def test_redirect_loop_ends(puller: Puller, sample: Sample) -> None:
    puller.server.fault = lambda r: (
        Answer(302, b"", {"Location": r.path}) if "/manifests/" in r.path else None
    )
    with pytest.raises(Unavailable, match="more than ten redirects"):
        puller.pull()


def test_nobody_there(server: RegistryServer) -> None:
    with running_registry(RegistryServer()) as gone:
        pass
    puller = Puller(gone)
    port = gone.host.partition(":")[2]
    with pytest.raises(Unavailable) as error:
        puller.pull()
    assert str(error.value) == (
        f'Get "http://127.0.0.1:{port}/v2/": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )


def test_unknown_host_name() -> None:
    server = RegistryServer(host="registry.invalid")
    with pytest.raises(Unavailable) as error:
        Puller(server).pull()
    assert str(error.value) == (
        'Get "https://registry.invalid/v2/": dial tcp: lookup registry.invalid: no such host'
    )


def test_cancel_ends_the_pull(puller: Puller, sample: Sample) -> None:
    def fault(request: Request) -> Answer | None:
        if "/blobs/" in request.path:
            puller.cancel.set()
        return None

    puller.server.fault = fault
    with pytest.raises(Cancelled):
        puller.pull()
    assert puller.images.list() == ()


def test_foreign_layer_comes_from_its_own_url(server: RegistryServer, puller: Puller) -> None:
    sample = sample_image(TARS[:1])
    digest = digest_of(sample.blobs[0])
    urls = f'"urls":["http://{server.host}/v2/far/blobs/{digest}"],"digest":"{digest}"'
    manifest = sample.manifest_json.replace(f'"digest":"{digest}"'.encode(), urls.encode())
    server.add_blob("far", sample.blobs[0])
    server.add_blob("app", sample.config_json)
    server.add_manifest("app", "1", OCI_MANIFEST, manifest)
    assert puller.pull().image.id == sample.image_id
    assert len(server.seen("GET", "/v2/far/blobs/")) == 1
    assert server.seen("GET", f"/v2/app/blobs/{digest}") == []
