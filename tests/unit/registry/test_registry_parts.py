"""The pure parts: challenges, hosts, proxies, platforms, progress."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InvalidArgument, NotFound, Unavailable
from wherry.model.digest import digest_of
from wherry.model.image import OCI_MANIFEST, Descriptor, Index, Platform
from wherry.registry.api import Credentials, RegistrySettings, Status, human_size, progress_line
from wherry.registry.client.auth import (
    Authorizer,
    Challenge,
    TokenAnswer,
    TokenRequest,
    parse_challenges,
    token_request,
)
from wherry.registry.client.client import login_domain
from wherry.registry.client.errors import refusal
from wherry.registry.client.hosts import Endpoint, Hosts, origin
from wherry.registry.client.platforms import choose, parse_platform
from wherry.registry.client.transport import bypasses_proxy

# --- challenges --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "want"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            [("bearer", "https://auth.docker.io/token", "registry.docker.io", "")],
        ),
        (
            'bearer Realm="https://a/t", scope="repository:a/b:pull,push repository:c:pull"',
            [("bearer", "https://a/t", "", "repository:a/b:pull,push repository:c:pull")],
        ),
        (
            'Basic realm="a, \\"b\\"", Bearer realm=https://x/',
            [("basic", 'a, "b"', "", ""), ("bearer", "https://x/", "", "")],
        ),
        ("Negotiate, Basic realm=x", [("negotiate", "", "", ""), ("basic", "x", "", "")]),
        ("", []),
        ("=,,;", []),
    ],
)
def test_challenges(header: str, want: list[tuple[str, str, str, str]]) -> None:
    found = [(c.scheme, c.realm, c.service, c.scope) for c in parse_challenges(header)]
    assert found == want


@given(st.text(max_size=200))
def test_no_header_breaks_the_parser(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def authorizer(answers: list[TokenAnswer], clock: list[float]) -> Authorizer:
    def fetch(request: TokenRequest) -> TokenAnswer:
        return answers.pop(0)

    made = Authorizer(Credentials(), fetch, secure=True, clock=lambda: clock[0])
    assert made.challenged('Bearer realm="https://auth/"')
    return made


def test_token_is_kept_until_shortly_before_its_end() -> None:
    clock = [0.0]
    first, second = TokenAnswer(token="one", expires_in=100), TokenAnswer(access_token="two")
    made = authorizer([first, second], clock)
    assert made.header(["repository:a:pull"]) == "Bearer one"
    clock[0] = 89.0
    assert made.header(["repository:a:pull"]) == "Bearer one"
    clock[0] = 91.0
    assert made.header(["repository:a:pull"]) == "Bearer two"


def test_each_scope_has_its_own_token() -> None:
    made = authorizer([TokenAnswer(token="a"), TokenAnswer(token="b")], [0.0])
    assert made.header(["repository:a:pull"]) == "Bearer a"
    assert made.header(["repository:b:pull"]) == "Bearer b"


def test_answer_without_a_token() -> None:
    with pytest.raises(Unavailable, match="without a token"):
        authorizer([TokenAnswer()], [0.0]).header(["x:y:z"])


def test_token_service_without_tls_gets_no_secret() -> None:
    challenge = Challenge(scheme="bearer", realm="http://evil/token")
    with pytest.raises(Unavailable, match="without TLS"):
        token_request(challenge, "", Credentials(username="me", password="x"), secure=True)
    for realm in ("file:///etc/passwd", "token", ""):
        with pytest.raises(Unavailable, match="no usable token service"):
            token_request(Challenge(scheme="bearer", realm=realm), "", Credentials(), False)


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Credentials(username="me", password="secret"))


# --- hosts -------------------------------------------------------------------------------------


def test_docker_hub_and_its_mirrors() -> None:
    hosts = Hosts(RegistrySettings(mirrors=("https://mirror.example/cache/", "nonsense")))
    mirror, hub = hosts.endpoints("docker.io")
    assert (mirror.base, mirror.mirror) == ("https://mirror.example/cache/v2/", True)
    assert hub == Endpoint("https", "registry-1.docker.io")
    assert hosts.endpoints("docker.io", mirrors=False) == (hub,)


def test_only_insecure_registries_may_lack_tls() -> None:
    hosts = Hosts(RegistrySettings(insecure=("10.0.0.0/8", "plain.example:5000")))
    assert [e.scheme for e in hosts.endpoints("quay.io")] == ["https"]
    for domain in (
        "localhost:5000",
        "127.3.2.1:80",
        "[::1]:5000",
        "10.1.2.3",
        "plain.example:5000",
    ):
        assert [e.origin for e in hosts.endpoints(domain)][1].startswith("http://"), domain
        assert not hosts.endpoints(domain)[0].secure
    assert not hosts.is_insecure("plain.example:5001")
    assert not hosts.is_insecure("localhost.example.com")


def test_origin_leaves_out_the_default_port() -> None:
    assert (
        origin("https://a.example:443/x?y") == origin("https://A.example/") == "https://a.example"
    )
    assert origin("http://a:8080/") == "http://a:8080"


def test_certificates_by_host(tmp_path: Path) -> None:
    directory = tmp_path / "reg.example:5000"
    directory.mkdir()
    for name in ("ca.crt", "client.cert", "client.key", "lonely.cert"):
        (directory / name).touch()
    hosts = Hosts(RegistrySettings(certs_dir=str(tmp_path)))
    assert hosts.authorities("reg.example:5000") == (str(directory / "ca.crt"),)
    assert hosts.client_certificate("reg.example:5000") == (
        str(directory / "client.cert"),
        str(directory / "client.key"),
    )
    assert hosts.client_certificate("other.example") is None


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("registry.example", "", False),
        ("127.0.0.1:5000", "", True),
        ("a.example", "example", True),
        ("a.example", ".example", True),
        ("notexample", "example", False),
        ("a.example:80", "a.example:81", False),
        ("a.example:81", "a.example:81", True),
        ("10.1.2.3:5000", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("anything", "x, *", True),
    ],
)
def test_no_proxy(host: str, no_proxy: str, direct: bool) -> None:
    assert bypasses_proxy(host, no_proxy) is direct


@pytest.mark.parametrize(
    ("server", "domain"),
    [
        ("", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_domain_of_a_login(server: str, domain: str) -> None:
    assert login_domain(server) == domain


@pytest.mark.parametrize("server", ["a b", "j\x15", "host:port", "host:99999", "[::1", "..", "é"])
def test_servers_that_are_no_hosts(server: str) -> None:
    with pytest.raises(InvalidArgument, match="is no host"):
        login_domain(server)


# --- platforms ---------------------------------------------------------------------------------


def index(*names: str) -> Index:
    entries = []
    for name in names:
        platform = parse_platform(name) if name else None
        entries.append(
            Descriptor(
                media_type=OCI_MANIFEST,
                digest=digest_of(name.encode()),
                size=1,
                platform=platform,
            )
        )
    return Index(schema_version=2, manifests=tuple(entries))


@pytest.mark.parametrize(
    ("wanted", "offers", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "linux/arm/v6"),
        ("linux/amd64", ["linux/amd64/v3", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/arm64", ""], ""),
    ],
)
def test_best_entry(wanted: str, offers: list[str], chosen: str) -> None:
    found = choose(index(*offers), parse_platform(wanted), "x")
    assert found.digest == digest_of(chosen.encode())


@pytest.mark.parametrize(
    ("wanted", "offers"),
    [
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["windows/amd64"]),
        ("linux/amd64", []),
    ],
)
def test_no_entry(wanted: str, offers: list[str]) -> None:
    with pytest.raises(NotFound, match="no matching manifest for"):
        choose(index(*offers), parse_platform(wanted), "x")


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/x86_64", Platform(os="linux", architecture="amd64")),
        ("arm64", Platform(os="linux", architecture="arm64")),
        ("linux/arm64/v8", Platform(os="linux", architecture="arm64", variant="v8")),
        ("linux/armhf", Platform(os="linux", architecture="arm", variant="v7")),
        ("Windows/amd64", Platform(os="windows", architecture="amd64")),
    ],
)
def test_platform_names(text: str, platform: Platform) -> None:
    assert parse_platform(text) == platform


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid platform"):
        parse_platform(text)


def test_a_word_that_names_no_platform() -> None:
    with pytest.raises(InvalidArgument, match='"foo": unknown operating system or architecture'):
        parse_platform("foo")


# --- words -------------------------------------------------------------------------------------


def test_progress_line_is_dockers() -> None:
    half = progress_line(Status(status="Downloading", id="abc", current=500_000, total=1_000_000))
    assert half == {
        "status": "Downloading",
        "id": "abc",
        "progressDetail": {"current": 500_000, "total": 1_000_000},
        "progress": "[=========================>                         ]    500kB/1MB",
    }
    assert progress_line(Status(status="Waiting", id="abc")) == {
        "status": "Waiting",
        "id": "abc",
        "progressDetail": {},
    }
    assert progress_line(Status(status="Digest: x")) == {"status": "Digest: x"}


def test_sizes() -> None:
    assert [human_size(n) for n in (0, 999, 1000, 1_234_567, 10**13)] == [
        "0B",
        "999B",
        "1kB",
        "1.235MB",
        "10TB",
    ]


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, b"", "unauthorized: authentication required"),
        (404, b"<html>", "manifest unknown: manifest unknown"),
        (418, b"\xff", "unknown: the registry answered with 418"),
        (403, b'{"errors":[{"code":"DENIED","message":"no\\r\\nway"}]}', "denied: no way"),
        (400, b'{"errors":[]}', "unsupported: the registry refused the request"),
    ],
)
def test_refusals(status: int, body: bytes, text: str) -> None:
    assert str(refusal(status, body)) == text
