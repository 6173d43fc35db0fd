"""Mounts of containers that exist: added and removed, with the writable layer kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.records import ExecOptions
from wherry.errors import Conflict, InvalidArgument, NotFound
from wherry.model.container import (
    ContainerChanges,
    HostConfig,
    MountRequest,
    VolumeOptions,
)
from wherry.network.api import NetworkRequest

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def bind(source: Path, target: str = "/b") -> MountRequest:
    return MountRequest(type="bind", source=str(source), target=target)


def change(engine: Any, ref: str, *add: MountRequest, remove: tuple[str, ...] = ()) -> None:
    changes = ContainerChanges(mount_add=add, mount_remove=remove)
    engine.engine.containers.update(ref, HostConfig(), changes)


def execute(engine: Any, ref: str, *command: str) -> str:
    execs = engine.engine.execs
    exec_id = execs.create(ref, ExecOptions(cmd=command, attach_stdout=True, tty=True))
    with execs.start(exec_id, detach=False) as stream:
        parts = []
        while data := stream.recv(65536):
            parts.append(data)
    return b"".join(parts).decode().strip()


def test_a_running_container_gets_a_mount_and_keeps_the_rest(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    (tmp_path / "file").write_text("from the host")
    net = api.networks.create(NetworkRequest(name="changing"))
    host = HostConfig(network_mode="changing")
    other = engine.create("sleep", "600", host=host)
    container = engine.create("sleep", "600", name="keeps", host=host, stop_signal="SIGKILL")
    api.containers.start(other)
    api.containers.start(container)
    api.containers.remove(other, force=True)  # a lower address is free now
    execute(engine, container, "sh", "-c", "echo mine > /kept")
    before = api.containers.get(container)
    change(engine, container, bind(tmp_path), MountRequest(type="volume", source="vv", target="/v"))
    after = api.containers.get(container)
    assert (after.id, after.name, after.state.status) == (before.id, "keeps", "running")
    assert after.state.pid != before.state.pid
    assert after.endpoints["changing"].ipv4 == before.endpoints["changing"].ipv4
    assert after.networking == before.networking
    assert execute(engine, container, "cat", "/kept", "/b/file") == "mine\r\nfrom the host"
    assert {m.destination for m in after.mounts} == {"/b", "/v"}
    assert api.volumes.users("vv") == (container,)
    change(engine, container, remove=("/v", "/b/"))
    assert api.containers.get(container).mounts == ()
    assert not api.containers.get(container).host.mounts
    assert api.volumes.users("vv") == ()
    assert execute(engine, container, "cat", "/kept") == "mine"
    api.containers.remove(container, force=True)
    api.volumes.remove("vv")
    api.networks.remove(net.id)


def test_mounts_of_a_container_that_does_not_run(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    host = HostConfig(network_mode="none", binds=(f"{tmp_path}:/old",), tmpfs={"/t": ""})
    container = engine.create("sh", "-c", "mount | grep -c ' /t '; ls /old /new", host=host)
    change(engine, container, bind(tmp_path, "/new"), remove=("/old", "/t"))
    record = api.containers.get(container)
    assert [m.destination for m in record.mounts] == ["/new"]
    assert (record.host.binds, record.host.tmpfs) == (None, None)
    assert record.state.status == "created"
    change(engine, container, bind(tmp_path / ".", "/new"), remove=("/new",))
    api.containers.start(container)
    assert api.containers.wait(container).result(patience(30)).exit_code != 0  # no /old
    api.containers.remove(container)


def test_a_new_volume_is_filled_from_the_container(engine: Any) -> None:
    api = engine.engine
    container = engine.create("true")
    change(engine, container, MountRequest(type="volume", source="filled", target="/etc"))
    assert "passwd" in os.listdir(api.volumes.path("filled"))
    api.containers.remove(container)
    api.volumes.remove("filled")


def test_what_is_wrong_changes_nothing(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    container = engine.create("sleep", "600", host=HostConfig(
        network_mode="none", mounts=(bind(tmp_path),)))  # fmt: skip
    api.containers.start(container)
    before = api.containers.get(container)
    for changes, words in (
        (ContainerChanges(mount_add=(bind(tmp_path),)), "Duplicate mount point: /b"),
        (ContainerChanges(mount_remove=("/nosuch",)), "has no mount at /nosuch"),
        (ContainerChanges(mount_add=(bind(tmp_path / "nosuch", "/c"),)), "does not exist"),
    ):
        with pytest.raises((InvalidArgument, NotFound), match=words):
            api.containers.update(container, HostConfig(), changes)
        assert api.containers.get(container) == before
    api.containers.remove(container, force=True)


def test_a_mount_that_fails_at_the_start_is_taken_back(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    container = engine.create("sleep", "600", stop_signal="SIGKILL")
    api.containers.start(container)
    options = VolumeOptions(subpath="nosuch")
    mount = MountRequest(type="volume", source="empty", target="/v", volume_options=options)
    with pytest.raises(NotFound, match="nosuch"):
        change(engine, container, mount, bind(tmp_path))
    record = api.containers.get(container)
    assert (record.state.status, record.mounts, record.host.mounts) == ("running", (), None)
    assert api.volumes.users("empty") == ()
    api.containers.remove(container, force=True)
    api.volumes.remove("empty")


def test_a_container_that_would_vanish_is_left_alone(engine: Any, tmp_path: Path) -> None:
    host = HostConfig(network_mode="none", auto_remove=True)
    container = engine.create("sleep", "600", host=host)
    engine.engine.containers.start(container)
    with pytest.raises(Conflict, match="removed when it stops"):
        change(engine, container, bind(tmp_path))
    assert engine.engine.containers.get(container).state.running
    gone = engine.engine.containers.wait(container, "removed")
    engine.engine.containers.kill(container)
    gone.result(patience(30))
