"""Joins containers to networks and parts them."""

from __future__ import annotations

from collections.abc import Sequence

from wherry.errors import InternalError, InvalidArgument
from wherry.network.allocation import AddressTaken, Allocator, NetworkFull
from wherry.network.api import Endpoint, EndpointRequest, Network
from wherry.network.definition import interface_prefix, slice_options
from wherry.network.links import Links
from wherry.network.naming import HostNames
from wherry.network.reaper import Reaper
from wherry.network.records import Records
from wherry.network.sandbox import NetnsSandbox
from wherry.network.slices import Slices, remove_slice
from wherry.sys.faults import reach

_NAME_ATTEMPTS = 5


class Endpoints:
    """Endpoints in the database and in the kernel; the database knows of one first and forgets
    it last, so that a crash leaves nothing that reconcile() would not find."""

    def __init__(self, records: Records, links: Links, slices: Slices, names: HostNames) -> None:
        self._records = records
        self._links = links
        self._slices = slices
        self._allocator = Allocator(records, names)
        self._reaper = Reaper(names.leaving_group, self._released)

    def connect(
        self, network: Network, sandbox: NetnsSandbox, request: EndpointRequest
    ) -> Endpoint:
        """Lease addresses, make the link, configure it; nothing is left after an error."""
        if not network.interface:
            raise InvalidArgument(
                f"container cannot be connected to network {network.name}: it has no bridge"
            )
        what = f"cannot connect container {request.container_id[:12]} to network {network.name}"
        try:
            with sandbox.lock:
                return self._try_names(network, sandbox, request)
        except FileExistsError as error:
            raise InternalError(f"{what}: every name that was tried is taken") from error
        except OSError as error:
            raise InternalError(f"{what}: {error.strerror}") from error

    def _try_names(
        self, network: Network, sandbox: NetnsSandbox, request: EndpointRequest
    ) -> Endpoint:
        """Names are random, or were seen free; another link may have one all the same."""
        for _ in range(_NAME_ATTEMPTS):
            endpoint = self._lease(network, sandbox, request)
            reach("endpoint.leased")
            try:
                self._attach(network, sandbox, endpoint)
            except FileExistsError as error:
                taken = error
                sandbox.look_again()
            else:
                reach("endpoint.linked")
                return endpoint
        raise taken

    def _lease(self, network: Network, sandbox: NetnsSandbox, request: EndpointRequest) -> Endpoint:
        interface = request.interface or sandbox.free_name(interface_prefix(network))
        try:
            return self._allocator.lease(network, request, interface)
        except (AddressTaken, NetworkFull) as error:
            if not error.leaving:
                raise
        self._reaper.drain()
        return self._allocator.lease(network, request, interface)

    def _attach(self, network: Network, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        try:
            if slice_options(network):
                self._slices.attach(network, sandbox, endpoint)
            else:
                self._links.attach(network, sandbox, endpoint)
        except FileExistsError:  # the link of that name is not ours to remove
            self._records.remove_endpoints([endpoint.id])
            raise
        except BaseException:
            self._remove_link(sandbox, endpoint)
            self._records.remove_endpoints([endpoint.id])
            raise

    def _remove_link(self, sandbox: NetnsSandbox, endpoint: Endpoint) -> None:
        if endpoint.host_interface:
            self._links.remove(endpoint.host_interface)
        else:
            remove_slice(sandbox, endpoint)

    def disconnect(self, endpoint: Endpoint, sandbox: NetnsSandbox | None) -> None:
        """Forget the endpoint now; its link goes, and its addresses come free, soon. Idempotent.
        A slice in a sandbox that goes on is removed at once."""
        if self._records.begin_leaving(endpoint.id):
            reach("endpoint.leaving")
            if sandbox and not endpoint.host_interface:
                remove_slice(sandbox, endpoint)
            self._reaper.remove(endpoint)

    def _released(self, endpoints: Sequence[Endpoint]) -> None:
        self._records.remove_endpoints([endpoint.id for endpoint in endpoints])

    def drain(self) -> None:
        """Wait until every endpoint that was disconnected is gone."""
        self._reaper.drain()

    def close(self) -> None:
        self._reaper.close()
