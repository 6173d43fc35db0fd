"""Credentials for registries, from Docker's ``config.json`` and its helpers."""

from __future__ import annotations

import base64
import json
import os
import tempfile

from wherry.errors import InvalidArgument, NotFound, WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    Config = dict[str, Any]

HUB = "https://index.docker.io/v1/"
"""Docker Hub's key in ``config.json``, for history's sake."""

_TOKEN_USER = "<token>"  # what a helper answers for an identity token
_HELPER_PATIENCE = 60  # seconds
_NOT_FOUND = "credentials not found in native keychain"


def registry_of(image: str) -> str:
    """The key of an image's registry in ``config.json``."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return server_key(first)
    return HUB


def server_key(server: str) -> str:
    """The key of a registry that a person named."""
    name = server.removeprefix("https://").removeprefix("http://").split("/")[0]
    return HUB if name in ("", "docker.io", "index.docker.io", "registry-1.docker.io") else name


class CredentialStore:
    """Reads and changes credentials. ``directory`` holds ``config.json``."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, "config.json")

    def get(self, server: str) -> dict[str, str] | None:
        """The API's AuthConfig for a registry's key, None if nothing is known."""
        config = self._read()
        if helper := _helper(config, server):
            return _from_helper(helper, server)
        for name, entry in (config.get("auths") or {}).items():
            if server_key(name) == server or name == server:
                return _from_entry(entry, server)
        return None

    def header(self, image: str) -> dict[str, str]:
        """The ``X-Registry-Auth`` header for an image's registry."""
        found = self.get(registry_of(image))
        return {"X-Registry-Auth": encode(found or {})}

    def config_header(self) -> dict[str, str]:
        """``X-Registry-Config``: all that is known, for a build (without asking helpers)."""
        auths = self._read().get("auths") or {}
        known = {name: _from_entry(entry, name) for name, entry in auths.items()}
        return {"X-Registry-Config": encode({name: auth for name, auth in known.items() if auth})}

    def put(self, server: str, user: str, password: str, token: str) -> None:
        """Remember credentials: with the helper if there is one, else in the file."""
        config = self._read()
        if helper := _helper(config, server):
            secret = {"ServerURL": server, "Username": user, "Secret": password}
            if token:
                secret |= {"Username": _TOKEN_USER, "Secret": token}
            _call(helper, "store", json.dumps(secret))
            entry: dict[str, str] = {}
        else:
            entry = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
            if token:
                entry = {"auth": _encode_user(user), "identitytoken": token}
        config.setdefault("auths", {})[server] = entry
        self._write(config)

    def forget(self, server: str) -> bool:
        """Whether there was something to forget."""
        config = self._read()
        helper = _helper(config, server)
        if helper and _from_helper(helper, server):
            _call(helper, "erase", server)
        found = (config.get("auths") or {}).pop(server, None) is not None
        if found:
            self._write(config)
        return found

    def _read(self) -> Config:
        try:
            with open(self._path, encoding="utf-8") as source:
                config = json.load(source)
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as error:
            raise InvalidArgument(f"cannot read {self._path}: {error}") from None
        if not isinstance(config, dict):
            raise InvalidArgument(f"cannot read {self._path}: it is not a JSON object")
        return config

    def _write(self, config: Config) -> None:
        """Replace the file in one step; others may not read it."""
        directory = os.path.dirname(self._path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=directory, prefix="config.json.")
        try:
            with open(descriptor, "w", encoding="utf-8") as target:
                json.dump(config, target, indent="\t")
            os.replace(name, self._path)
        except BaseException:
            os.unlink(name)
            raise


def encode(value: object) -> str:
    """Base64url of JSON, as the API's headers want it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _encode_user(user: str) -> str:
    return base64.b64encode(f"{user}:".encode()).decode()


def _helper(config: Config, server: str) -> str:
    return (config.get("credHelpers") or {}).get(server) or config.get("credsStore") or ""


def _from_entry(entry: dict[str, str], server: str) -> dict[str, str] | None:
    try:
        user, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except ValueError:
        raise InvalidArgument(f"the credentials for {server} in config.json are garbled") from None
    user, password = entry.get("username") or user, entry.get("password") or password
    token, registry_token = entry.get("identitytoken", ""), entry.get("registrytoken", "")
    if not (user or token or registry_token):
        return None
    return {
        "username": user,
        "password": password.rstrip("\0"),
        "identitytoken": token,
        "registrytoken": registry_token,
        "serveraddress": server,
    }


def _from_helper(helper: str, server: str) -> dict[str, str] | None:
    try:
        answer = json.loads(_call(helper, "get", server))
    except NotFound:
        return None
    except ValueError:
        raise InvalidArgument(f"docker-credential-{helper} did not answer with JSON") from None
    user, secret = answer.get("Username", ""), answer.get("Secret", "")
    if user == _TOKEN_USER:
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": user, "password": secret, "serveraddress": server}


def _call(helper: str, verb: str, text: str) -> str:
    """Run ``docker-credential-HELPER VERB``; NotFound if it does not know the registry."""
    import subprocess

    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, verb],
            input=text.encode(),
            capture_output=True,
            timeout=_HELPER_PATIENCE,
            check=False,
        )
    except OSError as error:
        raise WherryError(f"cannot run {program}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise WherryError(f"{program} did not answer in {_HELPER_PATIENCE} seconds") from None
    output = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0:
        return output
    if _NOT_FOUND in output:
        raise NotFound(output)
    raise WherryError(f"{program} failed: {output or done.stderr.decode(errors='replace').strip()}")
