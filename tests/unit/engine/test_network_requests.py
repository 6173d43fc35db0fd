"""What containers ask of networks, and what becomes of it. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.engine.networks.requests import (
    dns_names,
    endpoint_request,
    in_order_of_gateways,
    named_networks,
    parse_link,
    requested_networks,
)
from wherry.engine.records import Container
from wherry.errors import InvalidArgument, NotFound
from wherry.model.container import (
    ContainerConfig,
    EndpointIpam,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
)
from wherry.model.digest import Digest
from wherry.network.api import Endpoint, Network


def network(name: str, identity: str) -> Network:
    return Network(
        id=identity * 64,
        name=name,
        driver="bridge",
        subnets=(),
        internal=False,
        ipv6=False,
        attachable=False,
        options={},
        labels={},
        created_ns=0,
        interface="" if name in ("host", "none") else f"br-{name}",
    )


class Known:
    """The part of ``network.api.Networks`` that is needed: a look at three networks."""

    _all = (network("bridge", "a"), network("mine", "b"), network("host", "c"))

    def get(self, ref: str) -> Network:
        for one in self._all:
            if ref == one.name or one.id.startswith(ref):
                return one
        raise NotFound(f"network {ref} not found")


def named(mode: str, links: tuple[str, ...] = (), **endpoints: EndpointSettings) -> Any:
    host = HostConfig(network_mode=mode, links=links)
    asked = requested_networks(host, NetworkingConfig(endpoints_config=dict(endpoints)))
    return named_networks(Known(), asked, host)  # type: ignore[arg-type]


def container(**members: Any) -> Container:
    defaults: dict[str, Any] = {
        "id": "0123456789abcdef" * 4,
        "name": "web",
        "created_ns": 0,
        "image_id": Digest("sha256:" + "0" * 64),
        "image_name": "x",
        "config": ContainerConfig(mac_address="02:42:00:00:00:01"),
        "host": HostConfig(),
        "networking": {},
        "path": "",
        "args": (),
    }
    return Container(**(defaults | members))


def endpoint(name: str) -> Endpoint:
    return Endpoint(
        id=name,
        network_id=name,
        network_name=name,
        container_id="1",
        mac="",
        ipv4="",
        ipv4_prefix=0,
        gateway="",
    )


ALIASED = EndpointSettings(aliases=("a",))


def test_networks_are_known_by_their_names_however_they_were_asked_for() -> None:
    assert named("b" * 12) == {"mine": EndpointSettings()}
    assert named("b" * 12, mine=ALIASED) == {"mine": ALIASED}
    assert named("default", mine=ALIASED) == {"bridge": EndpointSettings(), "mine": ALIASED}
    assert named("host") == {}
    with pytest.raises(InvalidArgument, match="network nosuch not found"):
        named("nosuch")


def test_aliases_and_attachments_that_cannot_be() -> None:
    with pytest.raises(InvalidArgument, match="only supported for user-defined networks"):
        named("bridge", bridge=ALIASED)
    with pytest.raises(InvalidArgument, match="cannot be connected to network host"):
        named("mine", host=EndpointSettings())
    strange = EndpointSettings(driver_opts={"com.docker.network.endpoint.ifname": "../x"})
    with pytest.raises(InvalidArgument, match="invalid interface name"):
        named("mine", mine=strange)


def test_links_belong_to_the_first_user_defined_network() -> None:
    assert named("mine", ("db:store",))["mine"].links == ("db:store",)
    assert named("bridge", ("db:store",))["bridge"].links is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("db", ("db", "db")),
        ("db:store", ("db", "store")),
        ("/db:/web/store", ("db", "store")),
    ],
)
def test_links_are_read(text: str, expected: tuple[str, str]) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["", ":x", "db:", "/:x"])
def test_links_that_name_nothing_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="container links"):
        parse_link(text)


def test_the_containers_own_mac_is_that_of_its_first_network() -> None:
    ipam = EndpointIpam(ipv4_address="10.0.0.9", link_local_ips=("169.254.1.1",))
    record = container(networking={"one": EndpointSettings(ipam_config=ipam), "two": ALIASED})
    first = endpoint_request(record, "one", record.networking["one"])
    second = endpoint_request(record, "two", record.networking["two"])
    assert (first.mac, second.mac) == ("02:42:00:00:00:01", "")
    assert (first.ipv4, first.link_local) == ("10.0.0.9", ("169.254.1.1",))


def test_a_container_is_called_by_each_name_once() -> None:
    record = container(config=ContainerConfig(hostname="web"))
    assert dns_names(record, ALIASED) == ("web", "a", "0123456789ab")


def test_the_default_route_is_decided_by_priority_and_name() -> None:
    networking = {
        "b": EndpointSettings(),
        "a": EndpointSettings(),
        "z": EndpointSettings(gw_priority=2),
        "low": EndpointSettings(gw_priority=-1),
    }
    record = container(networking=networking)
    ordered = in_order_of_gateways(record, map(endpoint, networking))
    assert [one.network_name for one in ordered] == ["z", "a", "b", "low"]
