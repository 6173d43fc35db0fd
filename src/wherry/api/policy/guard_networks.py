"""Networks, as a policy shows and allows them."""

from __future__ import annotations

import msgspec

from wherry.api.policy.guard_containers import own_only
from wherry.api.policy.powers import check_endpoint
from wherry.api.policy.view import Part
from wherry.engine.api import NO_FILTERS, Filters
from wherry.model.container import EndpointSettings
from wherry.network.api import Endpoint, Network, NetworkRequest

_HARMLESS_OPTIONS = frozenset(
    (
        "com.docker.network.driver.mtu",
        "com.docker.network.bridge.enable_icc",
        "com.docker.network.bridge.enable_ip_masquerade",
    )
)


class GuardedNetworks(Part):
    def get(self, name_or_id: str) -> Network:
        return self._view.network(name_or_id)

    def list(self) -> tuple[Network, ...]:
        return tuple(filter(self._view.shows_network, self._engine.networks.list()))

    def endpoints(self, network: str) -> tuple[Endpoint, ...]:
        mine = {container.id for container in self._view.containers()}
        found = self._engine.networks.endpoints(self._view.network(network).id)
        return tuple(endpoint for endpoint in found if endpoint.container_id in mine)


class GuardedAttachments(Part):
    def create(self, request: NetworkRequest) -> Network:
        """Other drivers and options reach the host's own interfaces."""
        if request.driver != "bridge":
            raise self._policy.refusal(
                f"a network of the driver {request.driver}", "no grant is about it"
            )
        if request.config_only or request.config_from:
            raise self._policy.refusal("a configuration of networks", "no grant is about it")
        for option in sorted(set(request.options) - _HARMLESS_OPTIONS):
            raise self._policy.refusal(f"the network option {option[:80]}", "no grant is about it")
        labels = self._policy.labelled(request.labels)
        return self._engine.attachments.create(msgspec.structs.replace(request, labels=labels))

    def remove(self, ref: str) -> None:
        self._engine.attachments.remove(self._view.network(ref).id)

    def prune(self, filters: Filters = NO_FILTERS) -> tuple[str, ...]:
        return self._engine.attachments.prune(own_only(self._policy.labels, filters))

    def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        check_endpoint(self._view, settings)
        network, joining = self._view.network(ref), self._view.container(container)
        self._engine.attachments.connect(network.id, joining.id, settings)

    def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        network, leaving = self._view.network(ref), self._view.container(container)
        self._engine.attachments.disconnect(network.id, leaving.id, force=force)

    def remove_link(self, name: str) -> None:
        self._view.container(name.strip("/").partition("/")[0])
        self._engine.attachments.remove_link(name)
