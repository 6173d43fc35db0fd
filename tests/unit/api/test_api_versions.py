"""What older versions of the API had, had not, or took otherwise: each side of each change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wherry.api import older_requests
from wherry.api.wire import older
from wherry.engine.records import ExecOptions
from wherry.errors import InvalidArgument
from wherry.model.container import (
    BindOptions,
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    MountRequest,
    NetworkingConfig,
    TmpfsOptions,
    VolumeOptions,
)
from wherry.model.image import HealthConfig

NEWEST = (1, 51)


_PART = VolumeOptions(subpath="a")
_EXEC = TmpfsOptions(options=(("exec",),))


def mounted(kind: str, **members: Any) -> HostConfig:
    return HostConfig(mounts=(MountRequest(type=kind, **members),))


def bind(**options: Any) -> HostConfig:
    return mounted("bind", bind_options=BindOptions(**options))


def of_mount(host: HostConfig) -> BindOptions:
    assert host.mounts
    assert host.mounts[0].bind_options
    return host.mounts[0].bind_options


# The version that began to take a member, what sends it, and what reads it back.
_HOST = [
    ((1, 25), HostConfig(auto_remove=True), lambda host: host.auto_remove),
    ((1, 40), HostConfig(kernel_memory_tcp=9), lambda host: host.kernel_memory_tcp),
    ((1, 42), HostConfig(console_size=(1, 2)), lambda host: host.console_size),
    ((1, 43), HostConfig(annotations={"a": "b"}), lambda host: host.annotations),
    ((1, 40), bind(non_recursive=True), lambda host: of_mount(host).non_recursive),
    ((1, 42), bind(create_mountpoint=True), lambda host: of_mount(host).create_mountpoint),
    (
        (1, 44),
        bind(read_only_non_recursive=True),
        lambda host: of_mount(host).read_only_non_recursive,
    ),
]
_REFUSED = [
    ((1, 44), bind(read_only_force_recursive=True), "BindOptions.ReadOnlyForceRecursive"),
    ((1, 45), mounted("volume", volume_options=_PART), "VolumeOptions.Subpath"),
    ((1, 46), mounted("tmpfs", tmpfs_options=_EXEC), "TmpfsOptions.Options"),
    ((1, 48), mounted("image"), 'Mount type "image"'),
]


def before(version: tuple[int, int]) -> tuple[int, int]:
    return version[0], version[1] - 1


@pytest.mark.parametrize(("since", "sent", "read"), _HOST)
def test_a_member_is_left_out_before_its_version(since: Any, sent: HostConfig, read: Any) -> None:
    assert read(older_requests.host(sent, since)) == read(sent)
    assert not read(older_requests.host(sent, before(since)))


@pytest.mark.parametrize(("since", "sent", "words"), _REFUSED)
def test_a_mount_is_refused_before_its_version(since: Any, sent: HostConfig, words: str) -> None:
    assert older_requests.host(sent, since) == sent
    with pytest.raises(InvalidArgument, match=f"{words} needs API v1.{since[1]} or newer"):
        older_requests.host(sent, before(since))


def test_options_of_other_mounts_were_not_looked_at() -> None:
    mixed = MountRequest(
        type="bind",
        bind_options=BindOptions(propagation="slave"),
        volume_options=VolumeOptions(no_copy=True),
        tmpfs_options=TmpfsOptions(mode=1),
    )
    sent = HostConfig(mounts=(mixed,))
    assert older_requests.host(sent, (1, 42)) == sent
    found = older_requests.host(sent, (1, 41)).mounts
    assert found == (msgspec.structs.replace(mixed, volume_options=None, tmpfs_options=None),)


def test_shared_memory_was_shareable() -> None:
    assert older_requests.host(HostConfig(), (1, 39)).ipc_mode == "shareable"
    assert older_requests.host(HostConfig(ipc_mode="none"), (1, 39)).ipc_mode == "none"
    assert older_requests.host(HostConfig(), (1, 40)).ipc_mode == ""


def test_health_checks_had_one_interval() -> None:
    sent = ContainerConfig(healthcheck=HealthConfig(interval=5, start_interval=7))
    assert older_requests.configuration(sent, (1, 44)) == sent
    found = older_requests.configuration(sent, (1, 43)).healthcheck
    assert found == HealthConfig(interval=5)


def test_containers_began_on_one_network_without_priorities() -> None:
    one = NetworkingConfig(endpoints_config={"a": EndpointSettings(gw_priority=3)})
    two = NetworkingConfig(endpoints_config={"a": None, "b": EndpointSettings(gw_priority=3)})
    assert older_requests.networks(two, (1, 48)) == two
    assert older_requests.networks(one, (1, 47)).endpoints_config == {"a": EndpointSettings()}
    found = older_requests.networks(two, (1, 44)).endpoints_config
    assert found == {"a": None, "b": EndpointSettings()}
    with pytest.raises(InvalidArgument, match="network endpoints: a, b"):
        older_requests.networks(two, (1, 43))


def test_execs_and_updates_had_less() -> None:
    sent = ExecOptions(cmd=("x",), env=("A=b",), working_dir="/", console_size=(1, 2))
    assert older_requests.execution(sent, (1, 42)) == sent
    assert older_requests.execution(sent, (1, 41)).console_size is None
    assert older_requests.execution(sent, (1, 34)).working_dir == ""
    assert older_requests.execution(sent, (1, 24)).env == ()
    limit = HostConfig(pids_limit=5)
    assert older_requests.update(limit, (1, 40)).pids_limit == 5
    assert older_requests.update(limit, (1, 39)).pids_limit is None


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("condition", (1, 30)),
        ("until", (1, 35)),
        ("platform", (1, 41)),
        ("signal", (1, 42)),
    ],
)
def test_a_parameter_is_not_looked_at_before_its_version(name: str, since: tuple[int, int]) -> None:
    assert older_requests.parameter(name, "x", since) == "x"
    assert older_requests.parameter(name, "x", before(since)) == ""


# --- through the server ------------------------------------------------------------------------


def test_stops_have_a_signal_since_1_42(api: Any, engine: Any) -> None:
    container = engine.containers.add(name="one").id
    for version, signal in (("1.41", ""), ("1.42", "SIGHUP")):
        for action in ("stop", "restart"):
            api.call("POST", f"/v{version}/containers/{container}/{action}?signal=SIGHUP")
            assert engine.containers.calls[-1][-1]["signal"] == signal


def test_containers_are_counted_since_1_51(api: Any, engine: Any) -> None:
    image = engine.images.get("busybox").id
    engine.containers.add(name="one", image_id=image)
    for version, count in (("1.50", -1), ("1.51", 1)):
        listed = api.call("GET", f"/v{version}/images/json?all=1")[1]
        assert [one["Containers"] for one in listed if one["Id"] == image] == [count]


def test_what_is_shared_is_told_if_it_is_asked_for(api: Any) -> None:
    for query, told in (("", False), ("?shared-size=1", True)):
        listed = api.call("GET", f"/images/json{query}")[1]
        assert [one["SharedSize"] >= 0 for one in listed] == [told] * len(listed)


def test_configurations_of_images_are_plain_since_1_50(api: Any) -> None:
    for version, more in (("1.49", True), ("1.50", False)):
        config = api.call("GET", f"/v{version}/images/busybox/json")[1]["Config"]
        for name in ("Hostname", "AttachStdin", "Tty", "Image"):
            assert (name in config) is more
        assert {"Cmd", "Env", "Labels", "WorkingDir"} <= set(config)


def test_the_short_id_was_an_alias_before_1_45(api: Any, engine: Any) -> None:
    settings = {"mine": EndpointSettings(aliases=("a",)), "bridge": EndpointSettings()}
    container = engine.containers.add(name="one", networking=settings)
    for version, aliases in (("1.44", ["a", container.id[:12]]), ("1.45", ["a"])):
        found = api.call("GET", f"/v{version}/containers/one/json")[1]
        networks = found["NetworkSettings"]["Networks"]
        assert networks["mine"]["Aliases"] == aliases
        assert not networks["bridge"]["Aliases"]


def test_facts_and_sizes_that_are_told_no_more(api: Any) -> None:
    for version, bridges, expected in (
        ("1.48", True, True),
        ("1.49", True, False),
        ("1.50", False, False),
    ):
        info = api.call("GET", f"/v{version}/info")[1]
        assert ("BridgeNfIptables" in info) is bridges
        assert ("Expected" in info["RuncCommit"]) is expected
    used = {"BuilderSize": 5, "BuildCache": [{"ID": "x", "Parents": None}]}
    assert older.usage(used, (1, 42)) == {"BuildCache": used["BuildCache"]}
    old = older.usage(used, (1, 41))
    assert old == {"BuilderSize": 5, "BuildCache": [{"ID": "x", "Parents": None, "Parent": ""}]}


def test_the_nameless_had_a_name_before_1_43(api: Any, engine: Any) -> None:
    nameless = msgspec.structs.replace(engine.images.get("busybox"), references=(), repo_digests=())
    engine.images.list = lambda **asked: (nameless,)
    for version, tags, digests in (
        ("1.42", ["<none>:<none>"], ["<none>@<none>"]),
        ("1.43", [], []),
    ):
        found = api.call("GET", f"/v{version}/images/json?all=1")[1][0]
        assert (found["RepoTags"], found["RepoDigests"]) == (tags, digests)
