"""Configurations of containers whose users are not the host's, or that have labels."""

from __future__ import annotations

import pytest

from wherry.engine.spec import HostFacts, SpecInputs, build_spec
from wherry.engine.spec.remap import compose, with_users
from wherry.engine.spec.selinux import Labels
from wherry.model.container import ContainerConfig, HostConfig
from wherry.model.idmap import IdRange
from wherry.model.runtime_spec import IdMapping, Linux, Mount, Process
from wherry.model.users import UserMap

RANGES = (IdRange(0, 1000, 10), IdRange(10, 5000, 10))
USERS = UserMap(uids=RANGES, gids=RANGES)
OWN = "/var/lib/wherry/"


def ids(*ranges: tuple[int, int, int]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(container_id=disk, host_id=to, size=size) for disk, to, size in ranges)


def bind(source: str, **changes: object) -> Mount:
    options = {"destination": "/x", "type": "bind", "source": source, "options": ("rbind",)}
    return Mount(**options | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (ids((0, 0, 100)), ids((0, 1000, 10), (10, 5000, 10))),
        (ids((500, 0, 1)), ids((500, 1000, 1))),
        (ids((500, 8, 4)), ids((500, 1008, 2), (502, 5000, 2))),
        (ids((500, 20, 4)), ()),
    ],
)
def test_one_map_after_another(
    first: tuple[IdMapping, ...], expected: tuple[IdMapping, ...]
) -> None:
    assert compose(first, RANGES) == expected


def test_only_what_the_engine_keeps_is_mapped() -> None:
    host, own, asked = with_users(
        (
            bind("/home/me"),
            bind(f"{OWN}volumes/v/_data"),
            bind("/srv", uid_mappings=ids((7, 0, 1)), gid_mappings=ids((7, 0, 1))),
        ),
        USERS,
        OWN,
    )
    assert host == bind("/home/me")
    assert own.uid_mappings == own.gid_mappings == ids((0, 1000, 10), (10, 5000, 10))
    assert "idmap" in own.options
    assert asked.uid_mappings == ids((7, 1000, 1))


def test_images_are_mapped() -> None:
    image = Mount(destination="/image", type="overlay", source="overlay")
    (made,) = with_users((image,), USERS, OWN)
    assert made.uid_mappings == ids((0, 1000, 10), (10, 5000, 10))


def built(**more: object) -> tuple[Process, Linux]:
    inputs = {
        "container_id": "f" * 64,
        "config": ContainerConfig(cmd=("sh",)),
        "host": HostConfig(),
        "facts": HostFacts(
            cgroup_mode="unified", kernel=(6, 1), machine="x86_64", capabilities=(), cpus=1
        ),
        "root_path": "/rootfs",
        "cgroup_path": "/wherry/ffff",
    }
    made = build_spec(SpecInputs(**inputs | more))  # type: ignore[arg-type]
    assert made.process is not None
    assert made.linux is not None
    return made.process, made.linux


def test_users_that_are_not_the_hosts() -> None:
    _, linux = built(users=USERS, user_namespace="/proc/7/fd/3")
    paths = {one.type: one.path for one in linux.namespaces}
    assert paths["user"] == "/proc/7/fd/3"
    assert linux.uid_mappings == linux.gid_mappings == ids((0, 1000, 10), (10, 5000, 10))
    assert "net.ipv4.ping_group_range" not in linux.sysctl


def test_labels_of_selinux() -> None:
    process, linux = built(labels=Labels(process="p", mount="m"))
    assert (process.selinux_label, linux.mount_label) == ("p", "m")
