"""SELinux through the engine, on a host of the test's own making: this one has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wherry.engine.host.selinux import contexts_of, relabel, relabel_mounts
from wherry.engine.records import MountPoint
from wherry.engine.spec.selinux import (
    Contexts,
    Labels,
    check_label,
    container_labels,
    donor,
    level_of,
)
from wherry.errors import InternalError, InvalidArgument
from wherry.model.container import HostConfig

PROCESS = "system_u:system_r:container_t:s0"
FILE = "system_u:object_r:container_file_t:s0"
CONTEXTS = Contexts(process=PROCESS, file=FILE)
HOST = HostConfig()


def make_host(root: Path, contexts: str, policy: str = "targeted") -> str:
    (root / "sys/fs/selinux").mkdir(parents=True)
    (root / "sys/fs/selinux/enforce").write_text("1")
    directory = root / "etc/selinux" / policy / "contexts"
    directory.mkdir(parents=True)
    (root / "etc/selinux/config").write_text(f"# SELINUXTYPE=other\nSELINUXTYPE={policy}\n")
    (directory / "lxc_contexts").write_text(contexts)
    return str(root)


@pytest.mark.parametrize("policy", ["targeted", "mls"])
def test_the_policy_names_the_labels(tmp_path: Path, policy: str) -> None:
    text = f'process = "{PROCESS}"\ncontent = "x"\nfile = "{FILE}"\n'
    assert contexts_of(make_host(tmp_path, text, policy)) == CONTEXTS


def test_a_host_without_selinux(tmp_path: Path) -> None:
    assert contexts_of(str(tmp_path)) is None


def test_a_policy_without_containers(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="container-selinux"):
        contexts_of(make_host(tmp_path, 'file = "x"\n'))


def labels(*options: str, host: HostConfig = HOST, name: str = "one") -> Labels:
    return container_labels(CONTEXTS, options, host, name)


def test_each_container_has_categories_of_its_own() -> None:
    one, other = labels(), labels(name="other")
    level = level_of("one")
    assert one == Labels(process=f"{PROCESS}:{level[3:]}", mount=f"{FILE}:{level[3:]}")
    assert other.process != one.process
    assert labels() == one


def test_categories_are_two_in_order() -> None:
    for number in range(300):
        level, _, categories = level_of(str(number)).partition(":")
        low, high = (int(one.removeprefix("c")) for one in categories.split(","))
        assert level == "s0"
        assert 0 <= low < high < 1024


def test_parts_can_be_chosen() -> None:
    found = labels("user:u", "role:r", "type:t", "level:s0:c1,c2", "filetype:f")
    assert found == Labels(process="u:r:t:s0:c1,c2", mount="system_u:object_r:f:s0:c1,c2")


@pytest.mark.parametrize(
    ("options", "host"),
    [
        (("disable",), HOST),
        ((), HostConfig(privileged=True)),
        ((), HostConfig(pid_mode="host")),
        ((), HostConfig(ipc_mode="host")),
    ],
)
def test_containers_without_labels(options: tuple[str, ...], host: HostConfig) -> None:
    assert labels(*options, host=host) == Labels()
    assert container_labels(None, ("type:t",), HOST, "one") == Labels()


def test_who_shares_processes_or_memory_shares_the_label() -> None:
    assert donor(HostConfig(pid_mode="container:a")) == "a"
    assert donor(HostConfig(ipc_mode="container:b")) == "b"
    assert donor(HostConfig(network_mode="container:c")) == ""


@pytest.mark.parametrize("text", ["", "type", "type:", "colour:red", "disabled"])
def test_malformed_labels_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="bad label option"):
        check_label(text)


def label_of(path: Path) -> str:
    return os.getxattr(path, "security.selinux", follow_symlinks=False).decode()


def tree(root: Path) -> Path:
    (root / "below").mkdir(parents=True)
    (root / "below/file").write_text("x")
    (root / "outside").write_text("x")
    (root / "below/link").symlink_to("../outside")
    return root / "below"


@pytest.mark.root
@pytest.mark.parametrize(("mode", "level"), [("z", "s0"), ("ro,Z", "s0:c1,c2")])
def test_sources_of_mounts_get_the_label(tmp_path: Path, mode: str, level: str) -> None:
    below = tree(tmp_path)
    mounts = [
        MountPoint(type="bind", source=str(below), destination="/x", mode=mode),
        MountPoint(type="bind", source=str(tmp_path / "outside"), destination="/y", mode="ro"),
    ]
    relabel_mounts(mounts, f"{FILE}:c1,c2")
    wanted = f"system_u:object_r:container_file_t:{level}\0"
    assert [label_of(one) for one in (below, below / "file", below / "link")] == [wanted] * 3
    assert "security.selinux" not in os.listxattr(tmp_path / "outside")
    relabel_mounts(mounts, "")  # no label is none to give


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/", "/var/../home"])
def test_the_hosts_own_directories_keep_theirs(path: str) -> None:
    with pytest.raises(InvalidArgument, match="is not allowed"):
        relabel(path, FILE)
