"""From -p and EXPOSE to port requests."""

from __future__ import annotations

import pytest

from wherry.engine.networks.ports import parse_port, port_requests
from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, PortBinding


def test_a_binding_with_address_and_port() -> None:
    host = HostConfig(
        port_bindings={"5000/tcp": (PortBinding(host_ip="127.0.0.1", host_port="8080"),)}
    )
    (request,) = port_requests(ContainerConfig(), host)
    assert (request.container_port, request.protocol) == (5000, "tcp")
    assert (request.host_ip, request.host_port_first, request.host_port_last) == (
        "127.0.0.1",
        8080,
        8080,
    )


def test_a_binding_without_details_asks_for_any_port() -> None:
    for bindings in (None, (), (PortBinding(),)):
        (request,) = port_requests(
            ContainerConfig(), HostConfig(port_bindings={"53/udp": bindings})
        )
        assert (request.protocol, request.host_port_first, request.host_port_last) == ("udp", 0, 0)


def test_a_range_of_host_ports() -> None:
    host = HostConfig(port_bindings={"80/tcp": (PortBinding(host_port="8000-8010"),)})
    (request,) = port_requests(ContainerConfig(), host)
    assert (request.host_port_first, request.host_port_last) == (8000, 8010)


def test_publish_all_adds_exposed_ports_that_are_not_bound() -> None:
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "443/tcp": {}})
    host = HostConfig(
        publish_all_ports=True, port_bindings={"80/tcp": (PortBinding(host_port="8080"),)}
    )
    found = [(r.container_port, r.host_port_first) for r in port_requests(config, host)]
    assert found == [(80, 8080), (443, 0)]


@pytest.mark.parametrize("text", ["", "x", "0", "65536", "-1", "80/icmp", "٨٠"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_port(text)


@pytest.mark.parametrize("text", ["9-8", "a-b", "1-", "70000"])
def test_a_wrong_host_port_is_refused(text: str) -> None:
    host = HostConfig(port_bindings={"80/tcp": (PortBinding(host_port=text),)})
    with pytest.raises(InvalidArgument):
        port_requests(ContainerConfig(), host)


def test_a_wrong_host_address_is_refused() -> None:
    host = HostConfig(port_bindings={"80/tcp": (PortBinding(host_ip="localhost"),)})
    with pytest.raises(InvalidArgument, match="invalid IP address: localhost"):
        port_requests(ContainerConfig(), host)
