"""Networks whose containers have slices of an interface of the host: macvlan and ipvlan.

A slice is made in the container's namespace and is to be found there only. The host itself cannot
talk to the slices of its own interface (linux: networking/ipvlan).
"""

from __future__ import annotations

import errno
import logging
import time

from wherry.errors import Conflict, InternalError, InvalidArgument, NotSupported
from wherry.network.api import Endpoint, Network
from wherry.network.definition import parse_mtu, slice_options
from wherry.network.inside import configure, wait_until_running
from wherry.network.sandbox import NetnsSandbox
from wherry.network.slicing import SliceOptions, vlan_of
from wherry.sys.netlink.connection import NetlinkError
from wherry.sys.netlink.route import Link, RouteConnection, Slice

log = logging.getLogger(__name__)

_BUSY_LIMIT, _BUSY_INTERVAL = 2.0, 0.02  # seconds


class Slices:
    """The parents on the host, and the slices in the sandboxes."""

    def __init__(self, route: RouteConnection) -> None:
        self._route = route

    def make_parent(self, network: Network) -> bool:
        """See that a new network has its parent; whether it was made for it. NotSupported,
        InvalidArgument if there is no such interface."""
        options = _options(network)
        if not self._route.knows_kind(options.kind):
            raise NotSupported(
                f"network driver {options.kind!r} is not supported by this kernel: it has no such "
                f"links (module {options.kind})"
            )
        link = self._route.find_link(network.interface)
        if link is None:
            self._make(network)
            return True
        if link.name == "lo":
            raise InvalidArgument(f"loopback interface is not a valid {options.kind} parent link")
        return False

    def _make(self, network: Network) -> None:
        name = network.interface
        try:
            if not _options(network).parent:
                self._route.create_dummy(name)
            else:
                self._make_vlan(name)
        except NetlinkError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise NotSupported(
                    f"cannot make the parent interface {name} of network {network.name}: this "
                    "kernel has no such links (modules dummy and 8021q)"
                ) from error
            raise InternalError(
                f"cannot make the parent interface {name} of network {network.name}: "
                f"{error.strerror}"
            ) from error

    def _make_vlan(self, name: str) -> None:
        vlan = vlan_of(name)
        parent = self._route.find_link(vlan[0]) if vlan else None
        if vlan is None or parent is None:
            raise InvalidArgument(
                f"invalid parent interface {name}: this host has none of that name, and none to "
                "make a VLAN of, as in eth0.10"
            )
        self._route.create_vlan(name, parent.index, vlan[1])

    def ensure_parent(self, network: Network) -> None:
        """After a boot: make what was made before. What is missing else is worth a warning only,
        it may come yet."""
        if self._route.find_link(network.interface):
            return
        try:
            if network.made_interface:
                self._make(network)
                return
        except (InternalError, InvalidArgument, NotSupported) as error:
            log.warning("%s", error)
            return
        log.warning(
            "network %s has no parent interface %s on this host", network.name, network.interface
        )

    def remove_parent(self, network: Network) -> None:
        """Idempotent; does nothing to a parent that is not ours."""
        if network.made_interface:
            self._route.delete_link(network.interface)

    def attach(self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        """Make a slice in a sandbox. FileExistsError if its name is taken there, other OSErrors;
        InvalidArgument if the parent is gone."""
        self.ensure_parent(network)
        parent = self._route.find_link(network.interface)
        if parent is None:
            raise InvalidArgument(
                f"network {network.name} has no parent interface {network.interface} on this host"
            )
        self._create(network, sandbox, endpoint, parent)
        sandbox.note(endpoint.interface)
        configure(sandbox, endpoint)
        if parent.usable:
            name = endpoint.interface
            wait_until_running(lambda: sandbox.route.link(name).usable, name)

    def _create(
        self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint, parent: Link
    ) -> None:
        """A parent that was passed through to a container is free some time after its end."""
        options = _options(network)
        one = Slice(
            kind=options.kind,
            parent=parent.index,
            name=endpoint.interface,
            netns_fd=sandbox.netns_fd,
            mode=options.mode,
            flag=options.flag,
            mac=endpoint.mac,
            mtu=parse_mtu(network.options),
        )
        deadline = time.monotonic() + _BUSY_LIMIT
        while True:
            try:
                self._route.create_slice(one)
            except NetlinkError as error:
                if error.errno == errno.EEXIST:
                    raise FileExistsError(endpoint.interface) from error
                if error.errno != errno.EINVAL or options.mode != "passthru":
                    raise
                if time.monotonic() > deadline:
                    raise Conflict(
                        f"parent interface {parent.name} of network {network.name} is passed "
                        "through to another container"
                    ) from error
                time.sleep(_BUSY_INTERVAL)
            else:
                return


def _options(network: Network) -> SliceOptions:
    options = slice_options(network)
    if options is None:
        raise InternalError(f"network {network.name} has no slices")
    return options


def remove_slice(sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
    """Remove the slice of a container that goes on. Idempotent; InternalError."""
    try:
        sandbox.route.delete_link(endpoint.interface)
    except NetlinkError as error:
        raise InternalError(
            f"cannot remove the link {endpoint.interface}: {error.strerror}"
        ) from error
