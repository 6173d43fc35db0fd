"""The entrance of the library."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from wherry.client.address import DEFAULT_HOST, host_from
from wherry.client.answers import NO_FILTERS, Event, Filters, Info, Version, ask, decode
from wherry.client.containers import Containers
from wherry.client.groups import Networks, Volumes
from wherry.client.images import Images
from wherry.client.session import Session
from wherry.client.tls import TlsFiles, files_from


class Client:
    """Speaks to one engine: Wherry's, or any that has Docker's API.

    ``host`` is ``unix:///path`` or ``tcp://host:port``; ``timeout`` is in seconds, for each wait
    on the socket (None: as long as it takes); ``tls`` names the files for TLS on TCP. Errors are
    those of ``wherry.errors`` with the engine's own sentence: NotFound, Conflict, InvalidArgument,
    and Unavailable if no engine answers. Threads may share a client.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        timeout: float | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self.session = Session(host or DEFAULT_HOST, timeout=timeout, tls=tls)
        self.images = Images(self.session)
        self.containers = Containers(self.session, self.images)
        self.networks = Networks(self.session)
        self.volumes = Volumes(self.session)

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> Client:
        """A client for the engine that ``WHERRY_HOST`` or ``DOCKER_HOST`` names, with TLS as
        ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` say."""
        given = os.environ if environ is None else environ
        return cls(host_from(given), timeout=timeout, tls=files_from(given))

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Unavailable if no engine answers."""
        self.session.request("GET", "/_ping").read()

    def version(self) -> Version:
        return ask(self.session, Version, "GET", "/version")

    def info(self) -> Info:
        return ask(self.session, Info, "GET", "/info")

    def events(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        filters: Filters = NO_FILTERS,
    ) -> Iterator[Event]:
        """Events as they happen, and those since ``since`` before (seconds since the epoch).

        It begins to listen when it is called, not when the first event is asked for.
        """
        query = {"since": since, "until": until, "filters": dict(filters) or None}
        response = self.session.request("GET", "/events", query)

        def read() -> Iterator[Event]:
            with response:
                for line in response.lines():
                    yield decode(line, Event)

        return read()
