from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from wherry.cli.credentials import HUB, CredentialStore, registry_of, server_key
from wherry.errors import InvalidArgument, WherryError


@pytest.fixture
def store(tmp_path: Path) -> CredentialStore:
    return CredentialStore(str(tmp_path / "docker"))


def _config(tmp_path: Path, config: object) -> None:
    (tmp_path / "docker").mkdir(exist_ok=True)
    (tmp_path / "docker/config.json").write_text(json.dumps(config))


def _helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("busybox", HUB),
        ("me/app:1", HUB),
        ("docker.io/library/x", HUB),
        ("host.example/x", "host.example"),
        ("localhost/x", "localhost"),
        ("host:5000/x:1", "host:5000"),
    ],
)
def test_the_registry_of_an_image(image: str, server: str) -> None:
    assert registry_of(image) == server


def test_server_names() -> None:
    assert server_key("https://host.example/v2/") == "host.example"
    assert server_key("") == server_key("index.docker.io") == HUB


def test_kept_and_forgotten(store: CredentialStore, tmp_path: Path) -> None:
    assert store.get("host") is None
    store.put("host", "me", "se:cret", "")
    assert store.get("host") == {
        "username": "me",
        "password": "se:cret",
        "identitytoken": "",
        "registrytoken": "",
        "serveraddress": "host",
    }
    path = tmp_path / "docker/config.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.forget("host")
    assert not store.forget("host")


def test_other_settings_stay(store: CredentialStore, tmp_path: Path) -> None:
    _config(tmp_path, {"proxies": {"x": 1}, "auths": {"https://host/v2/": {"auth": "YTpi"}}})
    assert (store.get("host") or {})["username"] == "a"
    store.put("other", "u", "p", "token")
    saved = json.loads((tmp_path / "docker/config.json").read_text())
    assert saved["proxies"] == {"x": 1}
    assert (store.get("other") or {})["identitytoken"] == "token"


def test_the_header(store: CredentialStore) -> None:
    store.put("host", "me", "p", "")
    header = store.header("host/x")["X-Registry-Auth"]
    # "host" alone would be a repository on the hub; with a dot it is a server.
    assert json.loads(base64.urlsafe_b64decode(header)) == {}
    store.put("host.example", "me", "p", "")
    header = store.header("host.example/x")["X-Registry-Auth"]
    assert json.loads(base64.urlsafe_b64decode(header))["username"] == "me"


def test_a_helper(store: CredentialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _config(tmp_path, {"credsStore": "test"})
    _helper(
        tmp_path, monkeypatch, 'read s; echo "{\\"Username\\":\\"u-$s\\",\\"Secret\\":\\"p\\"}"'
    )
    assert (store.get("host") or {})["username"] == "u-host"


def test_a_helpers_token(
    store: CredentialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _config(tmp_path, {"credHelpers": {"host": "test"}})
    _helper(tmp_path, monkeypatch, 'echo \'{"Username":"<token>","Secret":"t"}\'')
    assert store.get("host") == {"identitytoken": "t", "serveraddress": "host"}


def test_a_helper_that_knows_nothing_or_fails(
    store: CredentialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _config(tmp_path, {"credsStore": "test"})
    _helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert store.get("host") is None
    _helper(tmp_path, monkeypatch, "echo it is locked; exit 1")
    with pytest.raises(WherryError, match="docker-credential-test failed: it is locked"):
        store.get("host")
    _config(tmp_path, {"credsStore": "missing"})
    with pytest.raises(WherryError, match="cannot run docker-credential-missing"):
        store.get("host")


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_file(store: CredentialStore, tmp_path: Path, text: str) -> None:
    _config(tmp_path, {})
    (tmp_path / "docker/config.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"cannot read .*config\.json"):
        store.get("host")


def test_garbled_credentials(store: CredentialStore, tmp_path: Path) -> None:
    _config(tmp_path, {"auths": {"host": {"auth": "%%%x"}}})
    with pytest.raises(InvalidArgument, match="garbled"):
        store.get("host")
