"""The part of the engine's seam (``engine.api``) that joins containers and networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from wherry.model.container import EndpointSettings
from wherry.network.api import Network, NetworkRequest

_NONE: Mapping[str, Sequence[str]] = MappingProxyType({})


class AttachmentApi(Protocol):
    """Networks as those see them who also have containers: with events, in use or not. ``ref`` is
    a network's name, id or prefix of the id; NotFound "network REF not found"."""

    def create(self, request: NetworkRequest) -> Network:
        """See ``network.api.Networks``."""
        ...

    def remove(self, ref: str) -> None:
        """See ``network.api.Networks``."""
        ...

    def prune(self, filters: Mapping[str, Sequence[str]] = _NONE) -> tuple[str, ...]:
        """Remove networks that no container uses, also none that is stopped; their names."""
        ...

    def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        """Attach a container, running or not. PermissionDenied if it is attached already."""
        ...

    def remove_link(self, name: str) -> None:
        """Forget a link, named CONTAINER/ALIAS: the container knows the other no more by that
        alias. NotFound."""
        ...

    def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        """Part a container from a network. PermissionDenied if it is not attached. ``force``:
        also an endpoint whose container is not known any more."""
        ...
