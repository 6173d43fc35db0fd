"""A conversation with one registry: authorised, redirected, repeated where that may help."""

from __future__ import annotations

import email.utils
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import msgspec
import urllib3
import urllib3.exceptions as u3

from wherry.errors import InternalError
from wherry.model.decoding import decoded
from wherry.model.malformed import MALFORMED
from wherry.registry.api import Cancelled, Credentials, RegistrySettings
from wherry.registry.client.auth import Authorizer, TokenAnswer, TokenRequest
from wherry.registry.client.errors import (
    RegistryRefused,
    WantsCredentials,
    causes,
    other_error,
    refusal,
    unreachable,
)
from wherry.registry.client.hosts import Endpoint, Hosts, origin
from wherry.registry.client.transport import Transport

Response = urllib3.BaseHTTPResponse
OpenBody = Callable[[], BinaryIO]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_MAX_WAIT = 60.0  # seconds; a registry that asks for more gets its error reported
_SMALL = 64 * 1024
_TOKEN_LIMIT = 1024 * 1024

TRANSIENT = (u3.HTTPError, OSError)
"""What a lost connection raises, while an answer is awaited and while it is read."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request. ``url`` may be relative to the endpoint's ``/v2/``.

    ``body`` opens the content afresh for each attempt; ``length`` is its size in bytes.
    """

    method: str
    url: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    body: OpenBody | None = None
    length: int = 0
    attempts: int | None = None


class Session:
    """Shared by the threads of one pull or push."""

    def __init__(
        self,
        transport: Transport,
        hosts: Hosts,
        endpoint: Endpoint,
        credentials: Credentials,
        cancel: threading.Event,
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._hosts = hosts
        self._cancel = cancel
        self._authorizer = Authorizer(credentials, self._fetch_token, secure=endpoint.secure)

    @property
    def settings(self) -> RegistrySettings:
        return self._hosts.settings

    def ping(self) -> None:
        """See that a registry is there and what it asks for; RegistryUnreachable."""
        with self.open(Call(method="GET", url="", attempts=1), authorise=False) as response:
            if response.status == 401:
                self._authorizer.challenged(response.headers.get("WWW-Authenticate", ""))
            elif response.status >= 500:
                raise other_error(refusal(response.status, response.read(_SMALL)))

    def log_in(self) -> None:
        """See that the credentials are accepted; WantsCredentials if they are not."""
        with self.open(Call(method="GET", url="")) as response:
            if response.status != 200:
                raise other_error(refusal(response.status, response.read(_SMALL)))

    @contextmanager
    def open(self, call: Call, *, authorise: bool = True) -> Iterator[Response]:
        """Send a call and give its answer, whatever its status. Its body is closed at the end."""
        response = self._repeat(call, authorise)
        try:
            yield response
        finally:
            response.drain_conn() if _is_short(response) else response.close()
            response.release_conn()

    def resolve(self, target: str, base: str = "") -> str:
        """The absolute URL of ``target``, which a registry may have named; RegistryRefused if it
        would leave TLS."""
        url = urljoin(base or self.endpoint.base, target)
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https") or (scheme == "http" and self.endpoint.secure):
            raise RegistryRefused(f"refusing to go to {url} from {self.endpoint.origin}: no TLS")
        return url

    def wait(self, attempt: int, response: Response | None = None) -> bool:
        """Wait before the next attempt; False if the registry asks for more than is sensible."""
        delay = self._delay(attempt)
        if response is not None:
            delay = max(delay, _retry_after(response.headers.get("Retry-After", "")))
        if delay > _MAX_WAIT:
            return False
        self._pause(delay)
        return True

    def _delay(self, attempt: int) -> float:
        return self.settings.backoff * float(2**attempt)

    def _pause(self, seconds: float) -> None:
        if self._cancel.wait(seconds):
            raise Cancelled("the transfer was cancelled")

    def abort(self) -> None:
        """End everything that goes on in this session."""
        self._cancel.set()

    def check_cancelled(self) -> None:
        if self._cancel.is_set():
            raise Cancelled("the transfer was cancelled")

    def _repeat(self, call: Call, authorise: bool) -> Response:
        attempts = call.attempts or self.settings.attempts
        for attempt in range(attempts):
            self.check_cancelled()
            last = attempt == attempts - 1
            try:
                response = self._authorised(call, authorise)
            except TRANSIENT as error:
                if last or _is_final(error):
                    raise unreachable(call.method, self._url(call), error) from error
                self.wait(attempt)
                continue
            if last or response.status not in _PASSING or not self.wait(attempt, response):
                return response
            response.close()
        raise InternalError("a request is sent at least once")

    def _authorised(self, call: Call, authorise: bool) -> Response:
        header = self._authorizer.header(call.scopes) if authorise else None
        response = self._follow(call, header)
        if response.status != 401 or not authorise:
            return response
        if not self._authorizer.challenged(response.headers.get("WWW-Authenticate", "")):
            return response
        again = self._authorizer.header(call.scopes)
        if again == header:
            return response
        response.close()
        return self._follow(call, again)

    def _follow(self, call: Call, authorization: str | None) -> Response:
        """Follow redirects; credentials go no further than the registry's own origin."""
        url = self._url(call)
        for _ in range(_MAX_REDIRECTS):
            trusted = authorization if origin(url) == self.endpoint.origin else None
            response = self._send(call, url, trusted)
            target = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not target:
                return response
            response.close()
            url = self.resolve(target, url)
        raise RegistryRefused(f'{call.method} "{self._url(call)}": more than ten redirects')

    def _send(self, call: Call, url: str, authorization: str | None) -> Response:
        headers = dict(call.headers)
        if authorization:
            headers["Authorization"] = authorization
        if call.body is None:
            return self._transport.send(call.method, url, headers, None, verify=self._verify(url))
        headers["Content-Length"] = str(call.length)
        with call.body() as stream:
            return self._transport.send(call.method, url, headers, stream, verify=self._verify(url))

    def _verify(self, url: str) -> bool:
        if origin(url) == self.endpoint.origin:
            return self.endpoint.verify
        return not self._hosts.is_insecure(urlsplit(url).netloc)

    def _url(self, call: Call) -> str:
        return urljoin(self.endpoint.base, call.url)

    def _fetch_token(self, request: TokenRequest) -> TokenAnswer:
        for attempt in range(self.settings.attempts):
            status, body, wait = self._ask_for_token(request)
            if status not in _PASSING or wait > _MAX_WAIT:
                break
            if attempt < self.settings.attempts - 1:
                self._pause(max(wait, self._delay(attempt)))
        return _token_answer(request, status, body)

    def _ask_for_token(self, request: TokenRequest) -> tuple[int, bytes, float]:
        verify = self._verify(request.url)
        try:
            response = self._transport.send(
                request.method, request.url, request.headers, request.body, verify=verify
            )
            body = read_limited(response, _TOKEN_LIMIT)
        except TRANSIENT as error:
            raise unreachable(request.method, request.url.partition("?")[0], error) from error
        return response.status, body, _retry_after(response.headers.get("Retry-After", ""))


def _token_answer(request: TokenRequest, status: int, body: bytes) -> TokenAnswer:
    realm = request.url.partition("?")[0]
    if status in (401, 403):
        refused = refusal(status, body)
        raise WantsCredentials(f'{request.method.capitalize()} "{realm}": {refused}')
    if status != 200:
        raise RegistryRefused(f'{request.method.capitalize()} "{realm}": status {status}')
    try:
        return decoded(body, TokenAnswer)
    except MALFORMED as error:
        raise RegistryRefused(f"{realm} answered with something else than a token") from error


def read_limited(response: Response, limit: int) -> bytes:
    """The whole body; RegistryRefused if it has more than ``limit`` bytes."""
    parts: list[bytes] = []
    left = limit
    while chunk := response.read(min(left + 1, _SMALL)):
        left -= len(chunk)
        if left < 0:
            response.close()
            raise RegistryRefused(f"the registry's answer is larger than {limit} bytes")
        parts.append(chunk)
    response.release_conn()
    return b"".join(parts)


def _is_short(response: Response) -> bool:
    length = response.headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= _SMALL


def _is_final(error: BaseException) -> bool:
    """Whether another attempt would end the same: a name, a certificate, nobody there."""
    final = (u3.NameResolutionError, ssl.SSLError, ConnectionRefusedError)
    return any(isinstance(cause, final) for cause in causes(error))


def _retry_after(text: str) -> float:
    """Seconds of a ``Retry-After`` header: a number or a date (RFC 9110, 10.2.3)."""
    if text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())
