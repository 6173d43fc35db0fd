"""Health checks of a container that holds up what enters it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.runtime.boxes import eventually
from tests.root.security.test_cve_copying import root_of
from tests.root.security.test_cve_entering import FUSE, Silence, write_program

from wherry.engine.records import HealthResult
from wherry.model.container import HostConfig
from wherry.model.image import HealthConfig

pytestmark = [pytest.mark.root, FUSE, pytest.mark.usefixtures("nothing_is_left")]

MILLISECOND = 10**6
CHECK = HealthConfig(
    test=("CMD", "/program"), interval=100 * MILLISECOND, timeout=200 * MILLISECOND, retries=2
)


def test_a_check_that_does_not_begin_is_one_that_takes_too_long(
    engine: TestEngine, tmp_path: Path
) -> None:
    silence = Silence(tmp_path / "outer/silence")
    host = HostConfig(network_mode="none", binds=(f"{tmp_path}/outer:/outer",))
    container = engine.create("sleep", "600", host=host, healthcheck=CHECK)
    containers = engine.engine.containers

    def late() -> list[HealthResult]:
        health = containers.get(container).state.health
        assert health is not None
        return [one for one in health.log if "exceeded timeout" in one.output]

    try:
        containers.start(container)
        write_program(root_of(engine, container) / "program")
        eventually(lambda: len(late()) > 2)
    finally:
        silence.end()
        containers.remove(container, force=True)
