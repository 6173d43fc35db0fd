"""What is told of volumes as they are made, used and removed."""

from __future__ import annotations

from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.records import Event
from wherry.model.container import HostConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def test_a_volume_is_followed_from_its_making_to_its_end(engine: Any) -> None:
    seen: list[Event] = []
    leave = engine.engine.events.subscribe(seen.append)
    try:
        host = HostConfig(binds=("told:/v:ro",), network_mode="none")
        container = engine.create("true", host=host)
        engine.engine.containers.start(container)
        engine.engine.containers.wait(container, "not-running").result(patience(60))
        engine.engine.containers.remove(container)
        engine.engine.volumes.create("told")  # is there already
        engine.engine.volumes.remove("told")
    finally:
        leave()
    told = [event for event in seen if event.type == "volume"]
    assert [event.action for event in told] == ["create", "mount", "unmount", "destroy"]
    assert {event.actor_id for event in told} == {"told"}
    assert told[1].attributes == {
        "container": container,
        "destination": "/v",
        "driver": "local",
        "propagation": "",
        "read/write": "false",
    }
    assert told[2].attributes == {"container": container, "driver": "local"}
    assert told[3].attributes == {"driver": "local"}
