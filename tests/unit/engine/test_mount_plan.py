"""From -v, --mount, --volumes-from and VOLUME to a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.engine.mounts.planning import PlannedMount, parse_bind, plan_mounts
from wherry.engine.records import MountPoint
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.container import (
    BindOptions,
    ContainerConfig,
    HostConfig,
    MountRequest,
    TmpfsOptions,
    VolumeOptions,
)


def no_container(ref: str) -> tuple[MountPoint, ...]:
    raise AssertionError(f"{ref} was not asked for")


def plan(config: ContainerConfig, host: HostConfig) -> dict[str, PlannedMount]:
    return {m.destination: m for m in plan_mounts(config, host, no_container)}


def test_a_bind_is_created_and_private_by_default() -> None:
    mount = parse_bind("/srv/data/:/data:ro")
    assert (mount.type, mount.source, mount.destination) == ("bind", "/srv/data", "/data")
    assert mount.read_only
    assert mount.create_source
    assert mount.propagation == "rprivate"


def test_a_name_is_a_volume_and_a_single_path_an_anonymous_one() -> None:
    named, anonymous = parse_bind("db:/var/lib/db:nocopy"), parse_bind("/cache")
    assert (named.type, named.source, named.no_copy) == ("volume", "db", True)
    assert (anonymous.type, anonymous.source, anonymous.destination) == ("volume", "", "/cache")


@pytest.mark.parametrize("text", ["", ":", "a:", ":/b", "a:b", "/a:/b:nope", "/a:/b:ro:x", "/a:/"])
def test_a_wrong_bind_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_bind(text)


def test_two_mounts_on_one_place_are_refused() -> None:
    host = HostConfig(binds=("/a:/data", "/b:/data/"))
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /data"):
        plan(ContainerConfig(), host)
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /data"):
        plan(ContainerConfig(), HostConfig(binds=("/a:/data",), tmpfs={"/data": ""}))


def test_an_images_volume_is_anonymous_unless_something_is_mounted_there() -> None:
    config = ContainerConfig(volumes={"/data": {}, "/logs": {}, "/run": {}})
    host = HostConfig(binds=("/srv:/data",), tmpfs={"/run": ""})
    found = plan(config, host)
    assert set(found) == {"/data", "/logs"}
    assert found["/data"].type == "bind"
    assert (found["/logs"].type, found["/logs"].source) == ("volume", "")


def test_a_mount_of_a_missing_host_path_is_an_error_and_a_bind_is_not(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    request = MountRequest(type="bind", source=missing, target="/data")
    with pytest.raises(InvalidArgument, match="bind source path does not exist"):
        plan(ContainerConfig(), HostConfig(mounts=(request,)))
    options = BindOptions(create_mountpoint=True, non_recursive=True)
    made = plan(
        ContainerConfig(),
        HostConfig(
            mounts=(MountRequest(type="bind", source=missing, target="/x", bind_options=options),)
        ),
    )["/x"]
    assert made.create_source
    assert not made.recursive


def test_tmpfs_and_volume_requests_keep_their_options() -> None:
    requests = (
        MountRequest(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=4096)),
        MountRequest(
            type="volume", source="v", target="/v", volume_options=VolumeOptions(no_copy=True)
        ),
    )
    found = plan(ContainerConfig(), HostConfig(mounts=requests))
    assert found["/t"].tmpfs == TmpfsOptions(size_bytes=4096)
    assert found["/v"].no_copy


def test_what_is_not_supported_is_refused_by_name() -> None:
    for request, words in (
        (MountRequest(type="npipe", source="x", target="/p"), "npipe"),
        (MountRequest(type="cluster", source="x", target="/p"), "cluster"),
    ):
        with pytest.raises(NotSupported, match=words):
            plan(ContainerConfig(), HostConfig(mounts=(request,)))
    nameless = VolumeOptions(subpath="below")
    request = MountRequest(type="volume", target="/v", volume_options=nameless)
    with pytest.raises(InvalidArgument, match="Subpath needs the name of a volume"):
        plan(ContainerConfig(), HostConfig(mounts=(request,)))


def test_volumes_from_takes_anothers_mounts_and_explicit_ones_win() -> None:
    others = (
        MountPoint(type="volume", name="v1", source="/vols/v1", destination="/data"),
        MountPoint(type="bind", source="/srv", destination="/srv", propagation="rprivate"),
        MountPoint(type="tmpfs", source="", destination="/tmp"),
    )
    host = HostConfig(volumes_from=("other:ro",), binds=("/mine:/srv",))
    found = {m.destination: m for m in plan_mounts(ContainerConfig(), host, lambda ref: others)}
    assert set(found) == {"/data", "/srv"}
    assert found["/data"].read_only
    assert found["/data"].source == "v1"
    assert found["/srv"].source == "/mine"
