from __future__ import annotations

import msgspec
import pytest

from wherry.daemon.exec_options import cgroup_driver
from wherry.daemon.options import BadOptions
from wherry.engine.containers.groups import asked_group, check_parent, group_path
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument

OWN = EngineSettings(data_root="/d", exec_root="/r")
SYSTEMD = msgspec.structs.replace(OWN, systemd_cgroups=True)


def test_groups_of_our_own() -> None:
    root = f"/wherry-{OWN.instance}"
    assert asked_group(OWN, "", "id") == group_path(OWN, "", "id") == f"{root}/id"
    assert group_path(OWN, "/mine", "id") == "/mine/id"
    below = msgspec.structs.replace(OWN, cgroup_parent="/all")
    assert group_path(below, "", "id") == "/all/id"
    check_parent(OWN, "a/b.slice")
    assert group_path(OWN, "a/b.slice", "id") == "/a/b.slice/id"


def test_scopes_of_systemd() -> None:
    assert asked_group(SYSTEMD, "", "id") == "system.slice:wherry:id"
    assert group_path(SYSTEMD, "", "id") == "/system.slice/wherry-id.scope"
    assert group_path(SYSTEMD, "a-b.slice", "id") == "/a.slice/a-b.slice/wherry-id.scope"
    below = msgspec.structs.replace(SYSTEMD, cgroup_parent="x.slice")
    assert group_path(below, "", "id") == "/x.slice/wherry-id.scope"


@pytest.mark.parametrize(
    ("settings", "parent", "message"),
    [
        (OWN, "a/../../b", "invalid cgroup parent: a/../../b leaves the hierarchy"),
        (SYSTEMD, "/a", "should be a valid slice named as"),
    ],
)
def test_parents_of_the_other_kind(settings: EngineSettings, parent: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        check_parent(settings, parent)
    check_parent(settings, "")


def test_the_driver_is_an_option_of_the_engine() -> None:
    assert cgroup_driver((), "") == "cgroupfs"
    assert cgroup_driver(("native.cgroupdriver=systemd",), "x.slice") == "systemd"
    assert cgroup_driver(("native.cgroupdriver=cgroupfs",), "/x") == "cgroupfs"


@pytest.mark.parametrize(
    ("options", "parent", "message"),
    [
        (("native.cgroupdriver=other",), "", "is invalid: want cgroupfs or systemd"),
        (("native.cgroupdriver",), "", "is not known"),
        (("isolation=hyperv",), "", "is not known"),
        (("native.cgroupdriver=systemd",), "/x", "valid slice"),
        ((), "x.slice", "must be an absolute path"),
    ],
)
def test_options_that_are_refused(options: tuple[str, ...], parent: str, message: str) -> None:
    with pytest.raises(BadOptions, match=message):
        cgroup_driver(options, parent)
