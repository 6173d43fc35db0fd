"""``HostConfig.Init`` through the engine, down to the process."""

from __future__ import annotations

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


@pytest.mark.parametrize(("init", "name"), [(True, b"wherry-init\n"), (False, b"cat\n")])
def test_process_1_is_the_init_that_was_asked_for(
    engine: TestEngine, init: bool, name: bytes
) -> None:
    host = HostConfig(network_mode="none", init=init)
    assert engine.run("cat", "/proc/1/comm", host=host).stdout == name


def test_the_exit_code_is_the_programs(engine: TestEngine) -> None:
    host = HostConfig(network_mode="none", init=True)
    assert engine.run("sh", "-c", "exit 5", host=host, user="1000").code == 5
