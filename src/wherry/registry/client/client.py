"""The registry client as the engine uses it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from wherry.errors import InternalError, InvalidArgument, NotFound, Unauthenticated, Unavailable
from wherry.model.image import Platform
from wherry.model.reference import DEFAULT_DOMAIN, Reference, is_domain
from wherry.registry.api import (
    ANONYMOUS,
    Credentials,
    Described,
    Progress,
    Pulled,
    Pushed,
    RegistrySettings,
)
from wherry.registry.client.describe import describe
from wherry.registry.client.hosts import Endpoint, Hosts
from wherry.registry.client.pull import Puller
from wherry.registry.client.push import Pusher
from wherry.registry.client.repository import Repository
from wherry.registry.client.session import Session
from wherry.registry.client.transport import Transport
from wherry.store.api import Blobs, Image, Images

T = TypeVar("T")

_TOKEN_USER = "<token>"
_HUB_NAMES = ("", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


class RegistryClient:
    """Pulls and pushes. Synchronous, takes long, safe to call from several threads.

    ``cancel`` ends a transfer soon with Cancelled; it is set as well when a transfer fails.
    """

    def __init__(self, settings: RegistrySettings, user_agent: str) -> None:
        self._hosts = Hosts(settings)
        self._user_agent = user_agent

    def pull(
        self,
        reference: Reference,
        *,
        images: Images,
        blobs: Blobs,
        progress: Progress,
        platform: Platform | None = None,
        credentials: Credentials | None = None,
        cancel: threading.Event | None = None,
    ) -> Pulled:
        """Get an image and its name into the store. ``platform`` None: this machine's.

        Mirrors are asked first, and left if they fail or lack the image. Raises NotFound in
        Docker's words, Unavailable, Unauthenticated, NotSupported (not an image), DataCorrupt.
        """
        reference = reference.tagged()
        cancel = cancel or threading.Event()

        def attempt(session: Session) -> Pulled:
            repository = Repository(session, reference)
            return Puller(repository, images, blobs, progress).pull(platform)

        with self._transport() as transport:
            return self._on_first(transport, reference, credentials, cancel, attempt, mirrors=True)

    def push(
        self,
        reference: Reference,
        image: Image,
        *,
        images: Images,
        blobs: Blobs,
        progress: Progress,
        credentials: Credentials | None = None,
        cancel: threading.Event | None = None,
    ) -> Pushed:
        """Send an image to the registry that its name tells. Errors as for :meth:`pull`, and
        PermissionDenied."""
        reference = reference.tagged()
        cancel = cancel or threading.Event()

        def attempt(session: Session) -> Pushed:
            return Pusher(Repository(session, reference), images, blobs, progress).push(image)

        with self._transport() as transport:
            return self._on_first(transport, reference, credentials, cancel, attempt)

    def describe(self, reference: Reference, credentials: Credentials | None = None) -> Described:
        """What the registry has under a name. Errors as for :meth:`pull`."""
        reference = reference.tagged()

        def attempt(session: Session) -> Described:
            return describe(Repository(session, reference))

        with self._transport() as transport:
            never = threading.Event()
            return self._on_first(transport, reference, credentials, never, attempt, mirrors=True)

    def log_in(self, server: str, credentials: Credentials) -> None:
        """See whether a registry accepts credentials; Unauthenticated if it does not.

        ``server`` is a host or, as Docker's configuration has it, a URL; empty: Docker Hub.
        """
        reference = Reference(login_domain(server), "", None)
        with self._transport() as transport:
            self._on_first(transport, reference, credentials, threading.Event(), Session.log_in)

    @contextmanager
    def _transport(self) -> Iterator[Transport]:
        transport = Transport(self._hosts, self._user_agent)
        try:
            yield transport
        finally:
            transport.close()

    def _on_first(
        self,
        transport: Transport,
        reference: Reference,
        credentials: Credentials | None,
        cancel: threading.Event,
        attempt: Callable[[Session], T],
        *,
        mirrors: bool = False,
    ) -> T:
        """The result of the first endpoint that answers; a mirror may fail in any way."""
        last: Exception = InternalError(f"no endpoint is known for {reference.domain}")
        for endpoint in self._hosts.endpoints(reference.domain, mirrors=mirrors):
            known = _resolved(credentials, endpoint)
            session = Session(transport, self._hosts, endpoint, known, cancel)
            try:
                session.ping()
            except Unavailable as error:
                last = error
                continue
            try:
                return attempt(session)
            except (NotFound, Unavailable, Unauthenticated) as error:
                if not endpoint.mirror:
                    raise
                last = error
                cancel.clear()
        raise last


def login_domain(server: str) -> str:
    """The domain of images that a login is for; InvalidArgument if it is none."""
    if server in _HUB_NAMES:
        return DEFAULT_DOMAIN
    bare = server.partition("://")[2] or server
    domain = bare.partition("/")[0]
    if not is_domain(domain):
        raise InvalidArgument(f"the registry {server[:80]!r} is no host: want HOST[:PORT]")
    return domain


def _resolved(credentials: Credentials | None, endpoint: Endpoint) -> Credentials:
    """What one endpoint is told. Docker's helpers mark an identity token by the user's name."""
    if credentials is None or endpoint.mirror:
        return ANONYMOUS
    if credentials.username == _TOKEN_USER:
        return Credentials(identity_token=credentials.password)
    return credentials
