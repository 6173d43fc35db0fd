"""The networks of an engine: bridges with address translation (docs/formats/network.md)."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wherry.errors import Conflict, NotSupported, PermissionDenied
from wherry.network import names as name_files
from wherry.network.api import (
    Endpoint,
    EndpointRequest,
    Listening,
    Network,
    NetworkRequest,
    PortRequest,
    Publication,
    PublishedPort,
    Sandbox,
)
from wherry.network.catalog import Catalog
from wherry.network.config import DEFAULTS, NetworkDefaults
from wherry.network.configurations import check_unused
from wherry.network.definition import PREDEFINED, parse_options, policy_of, slice_options
from wherry.network.endpoints import Endpoints
from wherry.network.firewall import Firewall, FirewallState
from wherry.network.friendly import ForeignRules
from wherry.network.inside import choose_gateway
from wherry.network.links import EngineLinks, Links, occupied
from wherry.network.naming import HostNames
from wherry.network.publishing import Publisher
from wherry.network.records import Records
from wherry.network.rules_watch import RulesWatch
from wherry.network.sandbox import NetnsSandbox, SandboxPool, adopt_sandbox, open_sandbox
from wherry.network.slices import Slices
from wherry.network.subnets import Prefix
from wherry.store.database import Database
from wherry.sys.faults import reach
from wherry.sys.netlink.route import RouteConnection

log = logging.getLogger(__name__)


class BridgeNetworks:
    """Implements :class:`wherry.network.api.Networks`, in the network namespace of the thread
    that makes it; the threads that call it must be in the same one."""

    def __init__(self, db: Database, instance: str, defaults: NetworkDefaults = DEFAULTS) -> None:
        """Take up the networks of the database, and make what the kernel lacks of them.

        ``instance`` (1 to 6 small letters or digits) tells this engine's names on the host from
        those of other engines. NotSupported names what this machine lacks.
        """
        self.names = HostNames(instance)
        self._defaults = defaults
        self._records = Records(db)
        self._route = _open_route()
        self._links = Links(self._route, defaults.mtu)
        self._slices = Slices(self._route)
        self._catalog = Catalog(self._records, self.names, defaults, self._occupied)
        self._firewall = Firewall(self.names.table, self._firewall_state)
        self._foreign = ForeignRules(self.names.table, defaults.accept_forward)
        self._watch: RulesWatch | None = None
        self._endpoints = Endpoints(self._records, self._links, self._slices, self.names)
        self._publisher = Publisher(self._records, self._firewall)
        self._changing = threading.RLock()
        self._closed = False
        self._told_dropped = False
        self._start()
        self._pool = SandboxPool(on_refill=self._accept_elsewhere)

    def _start(self) -> None:
        self._renew_default()
        self._catalog.ensure_predefined()
        for network in self._catalog.bridges():
            self._links.ensure_bridge(network)
        for network in self._catalog.sliced():
            self._slices.ensure_parent(network)
        self._watch = RulesWatch(self.names.table, self._firewall.port, self._restore_rules)
        self._firewall.install()
        self._accept_elsewhere()
        self._watch.start()

    @property
    def rules_port(self) -> int:
        """By which the kernel tells this engine's changes to nf_tables from those of others."""
        return self._firewall.port

    def _restore_rules(self) -> None:
        """Somebody has removed our rules, or changed them."""
        log.warning("the packet filter's table %s was changed by others", self.names.table)
        self._firewall.install()
        self._accept_elsewhere()

    def _renew_default(self) -> None:
        """Make the default bridge anew if the engine's settings of it have changed."""
        network = self._catalog.outdated_default()
        if network and not self._records.endpoints(network.id):
            self._records.remove_endpoints(one.id for one in self._records.leaving())
            self._links.remove(network.interface)
            self._catalog.forget(network)

    def _occupied(self) -> list[Prefix]:
        """What a chosen subnet must keep clear of: the host's routes, and its nameservers."""
        try:
            with open(name_files.HOST_RESOLV_CONF) as file:
                settings = name_files.parse_resolv_conf(file.read())
        except OSError:
            settings = name_files.ResolverSettings()
        return [*occupied(self._route), *name_files.server_prefixes(settings)]

    def _firewall_state(self) -> FirewallState:
        return FirewallState(
            bridges=[policy_of(network) for network in self._catalog.bridges()],
            ports=self._records.ports(),
        )

    def _accept_elsewhere(self) -> None:
        """Called often, since other engines may come and set their policy at any time."""
        self._sync_foreign([network.interface for network in self._catalog.bridges()])

    def _sync_foreign(self, bridges: Sequence[str]) -> None:
        try:
            dropped = self._foreign.sync(bridges)
        except OSError as error:
            log.warning("cannot look at the rules of iptables: %s", error)
            return
        if dropped and not self._told_dropped:
            log.warning(
                "iptables' FORWARD chain drops what no rule accepts: containers reach nothing "
                "outside, and nobody their ports, unless a rule accepts it or the engine is "
                "started with --accept-forward"
            )
        self._told_dropped = dropped

    # Networks

    def create(self, request: NetworkRequest) -> Network:
        with self._changing:
            network = self._catalog.define(request)
            reach("network.defined")
            if network.config_only:
                return network
            if slice_options(network):
                return self._make_sliced(network)
            self._make_bridge(network)
        return network

    def _make_sliced(self, network: Network) -> Network:
        try:
            made = self._slices.make_parent(network)
        except BaseException:
            self._catalog.forget(network)
            raise
        return self._catalog.note_parent(network) if made else network

    def _make_bridge(self, network: Network) -> None:
        try:
            if self._links.exists(network.interface):
                raise Conflict(
                    f"cannot create network {network.name}: the interface "
                    f"{network.interface} exists already"
                )
            self._links.ensure_bridge(network)
        except Conflict:
            self._catalog.forget(network)
            raise
        except BaseException:
            self._links.remove(network.interface)
            self._catalog.forget(network)
            raise
        reach("network.linked")
        self._firewall.add_bridge(policy_of(network))
        self._accept_elsewhere()

    def get(self, name_or_id: str) -> Network:
        return self._catalog.find(name_or_id)

    def list(self) -> tuple[Network, ...]:
        return self._catalog.all()

    def remove(self, name_or_id: str) -> None:
        with self._changing:
            network = self._catalog.find(name_or_id)
            if network.name in PREDEFINED:
                raise PermissionDenied(
                    f"{network.name} is a pre-defined network and cannot be removed"
                )
            check_unused(network, self._catalog.all() if network.config_only else ())
            self._endpoints.drain()
            if self._records.endpoints(network.id):
                raise PermissionDenied(
                    f"error while removing network: network {network.name} id {network.id} has "
                    "active endpoints"
                )
            self._catalog.forget(network)
            if network.config_only:
                return
            if slice_options(network):
                self._slices.remove_parent(network)
                return
            reach("network.forgotten")
            self._firewall.remove_bridge(policy_of(network))
            reach("network.closed")
            self._links.remove(network.interface)
            self._accept_elsewhere()

    # Sandboxes and endpoints

    def new_sandbox(self) -> NetnsSandbox:
        return self._pool.take()

    def adopt_sandbox(self, netns_fd: int) -> NetnsSandbox:
        return adopt_sandbox(netns_fd)

    def open_sandbox(self, pid: int) -> NetnsSandbox:
        return open_sandbox(pid)

    def connect(self, network: str, sandbox: Sandbox, request: EndpointRequest) -> Endpoint:
        found = self._catalog.find(network)
        with _own(sandbox) as own:
            return self._endpoints.connect(found, own, request)

    def disconnect(self, endpoint: Endpoint, sandbox: Sandbox | None = None) -> None:
        """The link goes in the background (:meth:`drain`); its addresses stay leased until then."""
        self._publisher.unpublish(endpoint)
        if sandbox is None:
            self._endpoints.disconnect(endpoint, None)
            return
        with _own(sandbox) as own:
            self._endpoints.disconnect(endpoint, own)

    def choose_gateway(self, sandbox: Sandbox, endpoints: Sequence[Endpoint]) -> None:
        with _own(sandbox) as own:
            choose_gateway(own, endpoints)

    def endpoints(self, network: str) -> tuple[Endpoint, ...]:
        return tuple(self._records.endpoints(self._catalog.find(network).id))

    def drain(self) -> None:
        """Wait until everything of disconnected endpoints is gone from the kernel."""
        self._endpoints.drain()

    # Ports

    def publish(self, endpoint: Endpoint, ports: Sequence[PortRequest]) -> Publication:
        """Ports of an internal network are not published: nobody could reach them. Those of a
        container that is on the wire itself need not be."""
        network = self._catalog.find(endpoint.network_id)
        if not _publishes(network):
            return Publication(ports=(), sockets=())
        bind_address = parse_options(network.options).bind_address
        return self._publisher.publish(endpoint, ports, bind_address or self._defaults.bind_address)

    def unpublish(self, endpoint: Endpoint) -> None:
        self._publisher.unpublish(endpoint)

    def unpublish_some(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        self._publisher.unpublish_some(endpoint, ports)

    def republish(self, endpoint: Endpoint, ports: Sequence[PublishedPort]) -> None:
        if _publishes(self._catalog.find(endpoint.network_id)):
            self._publisher.republish(endpoint, ports)

    def listening(
        self, endpoint: Endpoint, ports: Sequence[PublishedPort]
    ) -> tuple[Listening, ...]:
        return self._publisher.listening(endpoint, ports)

    # The engine's life

    def reconcile(self, live: Sequence[Endpoint]) -> None:
        with self._changing:
            self._endpoints.drain()
            found = self._links.of_engine(self.names)
            self._keep_only(live, found)
            for name in found.bridges - self._bridge_names():
                self._links.remove(name)
            for network in self._catalog.bridges():
                self._links.ensure_bridge(network)
                for endpoint in self._records.endpoints(network.id):
                    if port := found.ports.get(endpoint.host_interface):
                        self._links.rejoin(network, port)
            self._firewall.renew()
            self._accept_elsewhere()

    def _bridge_names(self) -> set[str]:
        return {network.interface for network in self._catalog.bridges()}

    def _keep_only(self, live: Sequence[Endpoint], found: EngineLinks) -> None:
        """Links and leases of these endpoints stay, all others go."""
        known = {endpoint.id for endpoint in self._records.endpoints()}
        networks = {network.id for network in self._catalog.all()}
        for endpoint in live:
            if endpoint.id not in known and endpoint.network_id in networks:
                self._records.restore_endpoint(endpoint)
        kept = {endpoint.id for endpoint in live}
        gone = [one for one in self._records.endpoints() if one.id not in kept]
        gone += self._records.leaving()
        ports = {endpoint.host_interface for endpoint in live}
        self._links.remove_all(sorted(set(found.ports) - ports), self.names.leaving_group)
        self._records.remove_endpoints(endpoint.id for endpoint in gone)

    def purge(self) -> None:
        """Remove everything of this engine from the kernel, end and :meth:`close`.

        The networks stay in the database, and the next engine on it makes them again. Idempotent.
        """
        if self._closed:
            return
        with self._changing:
            self._endpoints.drain()
            found = self._links.of_engine(self.names)
            self._keep_only((), found)
            self._stop_watch()
            self._pool.close()
            self._sync_foreign(())
            for name in self._bridge_names() | found.bridges:
                self._links.remove(name)
            for network in self._catalog.sliced():
                self._slices.remove_parent(network)
            self._firewall.purge()
        self.close()

    def _stop_watch(self) -> None:
        if self._watch:
            self._watch.close()
            self._watch = None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_watch()
        self._pool.close()
        self._endpoints.close()
        self._firewall.close()
        self._foreign.close()
        self._route.close()


def _publishes(network: Network) -> bool:
    return not network.internal and slice_options(network) is None


@contextmanager
def _own(sandbox: Sandbox) -> Iterator[NetnsSandbox]:
    """The sandbox as one of ours, whoever made it."""
    if isinstance(sandbox, NetnsSandbox):
        yield sandbox
        return
    own = NetnsSandbox(os.dup(sandbox.netns_fd))
    try:
        yield own
    finally:
        own.close()


def _open_route() -> RouteConnection:
    try:
        return RouteConnection()
    except OSError as error:
        raise NotSupported(f"cannot open rtnetlink, which networks need: {error}") from error
