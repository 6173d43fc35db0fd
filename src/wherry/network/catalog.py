"""The networks by name and id: in memory, written through to the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import msgspec

from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.network import configurations
from wherry.network.api import Network, NetworkRequest, Subnet
from wherry.network.config import NetworkDefaults
from wherry.network.configurations import made_of
from wherry.network.definition import (
    BRIDGE,
    HOST,
    NONE,
    OPTION_ICC,
    OPTION_MASQUERADE,
    OPTION_NAME,
    check_request,
    parse_options,
    slice_kind,
    slice_options,
)
from wherry.network.naming import HostNames, new_id
from wherry.network.records import Records
from wherry.network.subnets import (
    Prefix,
    check_requested,
    choose,
    choose_ipv6,
    of_version,
    parse_prefix,
)

_DEFAULT_BRIDGE = "com.docker.network.bridge.default_bridge"


class Catalog:
    """What networks there are; knows nothing of the kernel but what it occupies."""

    def __init__(
        self,
        records: Records,
        names: HostNames,
        defaults: NetworkDefaults,
        occupied: Callable[[], Sequence[Prefix]],
    ) -> None:
        """``occupied`` tells what the host's own addresses and routes cover."""
        self._records = records
        self._names = names
        self._defaults = defaults
        self._occupied = occupied
        self._lock = threading.Lock()
        # Replaced, never changed: it is read without the lock.
        self._networks = {network.id: network for network in records.networks()}

    def all(self) -> tuple[Network, ...]:
        """Oldest first."""
        return tuple(sorted(self._networks.values(), key=lambda one: one.created_ns))

    def bridges(self) -> list[Network]:
        """Those that have a bridge on the host."""
        return [one for one in self.all() if one.interface and one.driver == BRIDGE]

    def sliced(self) -> list[Network]:
        """Those whose containers have slices of an interface of the host."""
        return [network for network in self.all() if slice_kind(network.driver)]

    def find(self, name_or_id: str) -> Network:
        """By id, name, or unambiguous prefix of the id. NotFound, InvalidArgument."""
        networks = self.all()
        exact = [one for one in networks if name_or_id in (one.id, one.name)]
        if exact:
            return exact[0]
        found = [one for one in networks if name_or_id and one.id.startswith(name_or_id)]
        if len(found) > 1:
            raise InvalidArgument(
                f"network {name_or_id} is ambiguous ({len(found)} matches found on ID prefix)"
            )
        if not found:
            raise NotFound(f"network {name_or_id} not found")
        return found[0]

    def define(self, request: NetworkRequest) -> Network:
        """Record a network that was asked for. Conflict, InvalidArgument, NotFound,
        ResourceExhausted, NotSupported, PermissionDenied."""
        if request.config_from and not request.config_only:
            known = {one.name: one for one in self.all()}
            request = made_of(request, known.get(request.config_from))
        check_request(request)
        with self._lock:
            if any(one.name == request.name for one in self._networks.values()):
                raise Conflict(f"network with name {request.name} already exists")
            if request.config_only:
                return self._add(_network(request, request.subnets))
            network = _network(request, self._subnets(request))
            return self._add(self._with_interface(network))

    def _with_interface(self, network: Network) -> Network:
        options = slice_options(network)
        if options is None:
            name = parse_options(network.options).name or self._names.bridge(network.id)
            return msgspec.structs.replace(network, interface=name)
        if options.parent:
            self._check_sharing(network, options.parent)
            return msgspec.structs.replace(network, interface=options.parent)
        return msgspec.structs.replace(
            network, interface=self._names.dummy(network.id), internal=True, made_interface=True
        )

    def _check_sharing(self, network: Network, parent: str) -> None:
        """Networks may share a parent, but not of two drivers, nor one that is passed through."""
        for other in self.sliced():
            if other.interface != parent:
                continue
            modes = [found.mode for one in (network, other) if (found := slice_options(one))]
            if other.driver != network.driver or "passthru" in modes:
                raise Conflict(f"network {other.name} is already using parent interface {parent}")

    def note_parent(self, network: Network) -> Network:
        """The parent of a network was made for it."""
        with self._lock:
            changed = msgspec.structs.replace(network, made_interface=True)
            self._records.change_network(changed)
            self._networks = {**self._networks, network.id: changed}
            return changed

    def forget(self, network: Network) -> None:
        """PermissionDenied while it has endpoints."""
        with self._lock:
            self._records.remove_network(network.id)
            others = (one for one in self._networks.values() if one.id != network.id)
            self._networks = {one.id: one for one in others}

    def ensure_predefined(self) -> None:
        """``host`` and ``none``, which are names only, and the default bridge."""
        present = {network.name for network in self.all()}
        with self._lock:
            if BRIDGE not in present:
                self._add(self._default_bridge())
            for name, driver in ((HOST, "host"), (NONE, "null")):
                if name not in present:
                    self._add(_network(NetworkRequest(name=name, driver=driver), ()))

    def outdated_default(self) -> Network | None:
        """The default bridge, if it was made with other settings than the engine now has."""
        found = next((one for one in self.all() if one.name == BRIDGE), None)
        if found is None or found.options == self._default_options():
            wanted = self._default_subnet() if found else None
            if found is None or wanted is None or wanted == found.subnets[0]:
                return None
        return found

    def _default_options(self) -> dict[str, str]:
        return {
            _DEFAULT_BRIDGE: "true",
            OPTION_ICC: str(self._defaults.icc).lower(),
            OPTION_MASQUERADE: str(self._defaults.masquerade).lower(),
            OPTION_NAME: self._names.default_bridge,
        }

    def _default_subnet(self) -> Subnet | None:
        given = self._defaults.bridge_address
        if not given:
            return None
        asked = Subnet(subnet=given, gateway=given.partition("/")[0])
        return check_requested([asked], ())[0]

    def _default_bridge(self) -> Network:
        request = NetworkRequest(name=BRIDGE, options=self._default_options())
        subnet = self._default_subnet() or self._choose()
        return msgspec.structs.replace(
            _network(request, (subnet,)), interface=self._names.default_bridge
        )

    def _add(self, network: Network) -> Network:
        self._records.add_network(network)
        self._networks = {**self._networks, network.id: network}
        return network

    def _subnets(self, request: NetworkRequest) -> tuple[Subnet, ...]:
        """Those asked for; one of each address family that was asked for is chosen without."""
        subnets = check_requested(request.subnets, self._own_prefixes())
        if not request.ipv4 and of_version(subnets, 4):
            raise InvalidArgument("an IPv4 subnet was given for a network without IPv4")
        if request.ipv4 and of_version(subnets, 4) is None:
            subnets = (self._choose(), *subnets)
        if request.ipv6 and of_version(subnets, 6) is None:
            subnets = (*subnets, choose_ipv6())
        return subnets

    def _choose(self) -> Subnet:
        pools = [(pool.prefix(), pool.size) for pool in self._defaults.pools]
        return choose(pools, [*self._occupied(), *self._own_prefixes()])

    def _own_prefixes(self) -> list[Prefix]:
        taken = (one for one in self._networks.values() if not one.config_only)
        return [parse_prefix(subnet.subnet) for one in taken for subnet in one.subnets]


def _network(request: NetworkRequest, subnets: tuple[Subnet, ...]) -> Network:
    return Network(
        id=new_id(),
        name=request.name,
        driver=configurations.DRIVER if request.config_only else request.driver or BRIDGE,
        subnets=subnets,
        internal=request.internal,
        ipv4=request.ipv4,
        ipv6=of_version(subnets, 6) is not None,
        attachable=request.attachable,
        options=request.options,
        ipam_options=request.ipam_options,
        config_only=request.config_only,
        config_from=request.config_from,
        labels=request.labels,
        created_ns=time.time_ns(),
    )
