"""Who the client is: challenges, Basic, and Bearer tokens.

RFC 7235 (challenges), distribution's docs/spec/auth: token.md, oauth.md, scope.md.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from wherry.registry.api import Credentials
from wherry.registry.client.errors import RegistryRefused

_HEADER_LIMIT = 8192
_TOKEN_LIFE = 60.0  # seconds, where the answer does not say (token.md)
_MARGIN = 10.0  # seconds before its end at which a token counts as too old
_CLIENT_ID = "wherry"

_PART = re.compile(
    r'\s*,?\s*(?:(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s",]+))'
    r"|(?P<scheme>[\w-]+))"
)


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """One way in that a registry offers, in a ``WWW-Authenticate`` header."""

    scheme: str  # lower case
    realm: str = ""
    service: str = ""
    scope: str = ""


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header (or of several, joined by commas). Never fails."""
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    text = header[:_HEADER_LIMIT]
    while match := _PART.match(text, position):
        position = match.end()
        if match["scheme"]:
            found.append((match["scheme"].lower(), {}))
        elif found:
            quoted = match["quoted"]
            value = match["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1][match["key"].lower()] = value
    return tuple(_challenge(scheme, values) for scheme, values in found)


def _challenge(scheme: str, values: dict[str, str]) -> Challenge:
    known = {name: values.get(name, "") for name in ("realm", "service", "scope")}
    return Challenge(scheme=scheme, **known)


class TokenAnswer(msgspec.Struct):
    """token.md: ``token``, or ``access_token`` for OAuth 2.0 compatibility."""

    token: str = ""
    access_token: str = ""
    expires_in: float | None = None
    refresh_token: str = ""


class TokenRequest(msgspec.Struct, frozen=True):
    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None


class FetchToken(Protocol):
    """Sends a token request; raises the registry's errors."""

    def __call__(self, request: TokenRequest, /) -> TokenAnswer: ...


class Authorizer:
    """Makes ``Authorization`` headers for one registry. Safe to call from several threads."""

    def __init__(
        self,
        credentials: Credentials,
        fetch: FetchToken,
        *,
        secure: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._fetch = fetch
        self._secure = secure
        self._clock = clock
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def challenged(self, header: str) -> bool:
        """Take up the best challenge of a 401; False if none of them can be met."""
        offers = {challenge.scheme: challenge for challenge in parse_challenges(header)}
        with self._lock:
            self._challenge = offers.get("bearer") or offers.get("basic")
            self._tokens.clear()
            return self._challenge is not None and self._can_meet(self._challenge)

    def _can_meet(self, challenge: Challenge) -> bool:
        if challenge.scheme == "bearer":
            return bool(challenge.realm) or bool(self._credentials.registry_token)
        return bool(self._credentials.username)

    def header(self, scopes: Iterable[str]) -> str | None:
        """The header for requests with these scopes (``repository:NAME:pull``); None: none."""
        with self._lock:
            challenge = self._challenge
            if challenge is None or not self._can_meet(challenge):
                return None
            if challenge.scheme == "basic":
                return _basic(self._credentials)
            if self._credentials.registry_token:
                return f"Bearer {self._credentials.registry_token}"
            return f"Bearer {self._token(challenge, ' '.join(scopes) or challenge.scope)}"

    def _token(self, challenge: Challenge, scope: str) -> str:
        token, until = self._tokens.get(scope, ("", 0.0))
        if token and self._clock() < until:
            return token
        answer = self._fetch(token_request(challenge, scope, self._credentials, self._secure))
        token = answer.token or answer.access_token
        if not token:
            raise RegistryRefused(f"{challenge.realm} answered without a token")
        life = _TOKEN_LIFE if answer.expires_in is None else answer.expires_in
        self._tokens[scope] = (token, self._clock() + max(life, _TOKEN_LIFE) - _MARGIN)
        return token


def token_request(
    challenge: Challenge, scope: str, credentials: Credentials, secure: bool
) -> TokenRequest:
    """How to ask a realm for a token: POST with an identity token (oauth.md), else GET.

    A realm without TLS gets nothing if the registry itself has it.
    """
    url = urlsplit(challenge.realm)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise RegistryRefused(f"the registry names no usable token service: {challenge.realm!r}")
    if secure and url.scheme == "http":
        raise RegistryRefused(f"refusing to ask {challenge.realm} for a token without TLS")
    if credentials.identity_token:
        return _refresh_request(challenge, scope, credentials)
    query = [("service", challenge.service)] if challenge.service else []
    query += [("scope", one) for one in scope.split()]
    headers: dict[str, str] = {}
    if credentials.username:
        query += [("account", credentials.username), ("client_id", _CLIENT_ID)]
        headers["Authorization"] = _basic(credentials)
    glue = "&" if url.query else "?"
    return TokenRequest("GET", challenge.realm + glue + urlencode(query), headers, None)


def _refresh_request(challenge: Challenge, scope: str, credentials: Credentials) -> TokenRequest:
    form = {
        "grant_type": "refresh_token",
        "service": challenge.service,
        "client_id": _CLIENT_ID,
        "scope": scope,
        "refresh_token": credentials.identity_token,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return TokenRequest("POST", challenge.realm, headers, urlencode(form).encode())


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
