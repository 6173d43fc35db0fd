"""Containers' names are answered while the engine is away, and known to the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.root.engine.conftest import read_all, split_frames

from wherry.daemon.wiring import open_engine
from wherry.engine.records import ExecOptions
from wherry.engine.settings import EngineSettings
from wherry.model.container import ContainerConfig, EndpointSettings, HostConfig, NetworkingConfig
from wherry.network.api import NetworkRequest

pytestmark = pytest.mark.root


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    return EngineSettings(data_root=str(tmp_path / "data"), exec_root=str(tmp_path / "exec"))


@pytest.fixture(autouse=True)
def cleared(settings: EngineSettings, leftovers: Any) -> Iterator[None]:
    yield
    engine = open_engine(settings)
    for container in engine.containers.list(running_only=False):
        engine.containers.remove(container.id, force=True)
    engine.networks.purge()
    engine.close()


def start(engine: Any, name: str, *cmd: str, **settings: Any) -> str:
    """The address of a new container on the network ``one``."""
    created = engine.containers.create(
        name,
        ContainerConfig(image="busybox", cmd=cmd or ("sleep", "600")),
        HostConfig(network_mode="one"),
        NetworkingConfig(endpoints_config={"one": EndpointSettings(**settings)}),
    )
    engine.containers.start(created.id)
    return str(engine.containers.get(name).endpoints["one"].ipv4)


def inside(engine: Any, name: str, *cmd: str) -> str:
    options = ExecOptions(cmd=cmd, attach_stdout=True, attach_stderr=True)
    stream = engine.execs.start(engine.execs.create(name, options), detach=False)
    return b"".join(split_frames(read_all(stream))).decode()


def test_names_outlive_the_engine(settings: EngineSettings) -> None:
    engine = open_engine(settings)
    engine.images.bootstrap("busybox", progress=lambda line: None)
    engine.attachments.create(NetworkRequest(name="one"))
    address = start(engine, "web", aliases=("www",))
    start(engine, "client")
    assert f"Address: {address}" in inside(engine, "client", "nslookup", "-type=a", "www")
    engine.close()

    engine = open_engine(settings)
    assert f"Address: {address}" in inside(engine, "client", "nslookup", "-type=a", "www")
    late = start(engine, "late", links=("web:sister",))
    assert f"Address: {address}" in inside(engine, "late", "nslookup", "-type=a", "sister")
    assert f"Address: {late}" in inside(engine, "client", "nslookup", "-type=a", "late")
    engine.containers.remove("web", force=True)
    assert "Address: 1" not in inside(engine, "client", "nslookup", "-type=a", "www")
    engine.close()
