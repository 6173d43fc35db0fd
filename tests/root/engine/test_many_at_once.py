"""A hundred containers of one network at a time, each with a published port."""

from __future__ import annotations

import re
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.patience import patience

from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig, PortBinding
from wherry.network.api import NetworkRequest
from wherry.network.bridge import BridgeNetworks

pytestmark = [pytest.mark.root]

_COUNT, _AT_ONCE = 100, 20
# The server listens before it says so: whoever was told may call.
_COMMAND = ("sh", "-c", "hostname > /index.html; httpd -h / -p 80; echo ready; exec sleep 600")


def _start(engine: Any, number: int) -> str:
    config = ContainerConfig(image="busybox", cmd=_COMMAND, hostname=f"host{number}")
    host = HostConfig(network_mode="many", port_bindings={"80/tcp": (PortBinding(),)})
    name = f"many{number}"
    engine.containers.create(name, config, host, NetworkingConfig())
    attached = engine.containers.attach(name, stdin=False, stdout=True, stderr=False)
    with attached:
        attached.settimeout(patience(60))
        engine.containers.start(name)
        assert b"ready" in attached.recv(100)
    return name


def _fetch(host: str, port: int) -> str:
    with socket.create_connection((host, port), patience(60)) as one:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: one.recv(4096), b"")).rpartition(b"\r\n\r\n")[2].decode()


def _links(networks: BridgeNetworks) -> set[str]:
    shown = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    instance = networks.names.port_prefix
    return {
        name for name in re.findall(r"^\d+: ([^:@]+)", shown, re.M) if name.startswith(instance)
    }


def test_no_address_rule_or_interface_is_lost(engine: Any, nothing_is_left: None) -> None:
    api = engine.engine
    networks: BridgeNetworks = api.networks
    made = api.attachments.create(NetworkRequest(name="many"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = list(pool.map(lambda number: _start(api, number), range(_COUNT)))
        records = [api.containers.get(name) for name in names]
        endpoints = [one.endpoints["many"] for one in records]
        assert len({one.ipv4 for one in endpoints}) == _COUNT
        assert len({one.mac for one in endpoints}) == _COUNT
        assert {one.host_interface for one in endpoints} == _links(networks)
        assert {one.id for one in networks.endpoints("many")} == {one.id for one in endpoints}
        ports = [one.ports[0].host_port for one in records]
        assert len(set(ports)) == _COUNT
        wanted = [f"host{number}\n" for number in range(_COUNT)]
        for host in ("127.0.0.1", "::1"):
            assert list(pool.map(lambda port, host=host: _fetch(host, port), ports)) == wanted
        assert list(pool.map(lambda one: _fetch(one.ipv4, 80), endpoints)) == wanted
        list(pool.map(lambda name: api.containers.remove(name, force=True), names))
    api.attachments.remove(made.id)
    assert not _links(networks)
    for port in ports:  # all of them are free
        socket.create_server(("", port)).close()
