"""Published ports answer while there is no engine, and while the next one takes them up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.daemon.wiring import open_engine
from wherry.engine.settings import EngineSettings
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig, PortBinding

pytestmark = [pytest.mark.root]

_SERVER = ("sh", "-c", "echo here > /index.html; httpd -h / -p 80; echo ready; exec sleep 600")


class _Caller:
    """Calls an address again and again in a thread, until it is stopped."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._stopping = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.005):
            try:
                with socket.create_connection(self._address, patience(20)) as one:
                    one.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    told = b"".join(iter(lambda one=one: one.recv(4096), b""))  # type: ignore[misc]
                assert told.endswith(b"here\n")
                self.answers += 1
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Opens one engine after the other; the last one is purged."""
    settings = EngineSettings(data_root=str(tmp_path / "data"), exec_root=str(tmp_path / "run"))
    engines: list[Any] = []

    def open_next() -> Any:
        engines.append(open_engine(settings))
        return engines[-1]

    yield open_next
    for container in engines[-1].containers.list(running_only=False):
        engines[-1].containers.remove(container.id, force=True)
    engines[-1].networks.purge()
    engines[-1].close()


def test_nobody_notices_that_the_engine_is_another_one(opened: Callable[[], Any]) -> None:
    engine = opened()
    engine.images.bootstrap("busybox", progress=lambda line: None)
    host = HostConfig(port_bindings={"80/tcp": (PortBinding(),)})
    config = ContainerConfig(image="busybox", cmd=_SERVER)
    engine.containers.create("web", config, host, NetworkingConfig())
    with engine.containers.attach("web", stdin=False, stdout=True, stderr=False) as attached:
        attached.settimeout(patience(20))
        engine.containers.start("web")
        assert b"ready" in attached.recv(100)
    port = engine.containers.get("web").ports[0].host_port
    callers = [_Caller((address, port)) for address in ("127.0.0.1", "::1")]
    try:
        for _ in range(3):
            engine.close()
            engine = opened()
    finally:
        for caller in callers:
            caller.stop()
    assert [caller.failures for caller in callers] == [[], []]
    assert all(caller.answers for caller in callers)
