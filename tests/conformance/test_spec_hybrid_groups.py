"""A host that has control groups of both versions: containers are in the tree of version 2, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.bundles import Bundles, Config, mount
from tests.conformance.test_spec_namespaces import open_up, with_users

from wherry.cgroup import open_cgroups

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        open_cgroups().mode != "hybrid", reason="control groups here are not of both versions"
    ),
]
TREE = Path("/sys/fs/cgroup/unified")


def in_the_hosts_namespace(config: Config) -> None:
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [one for one in spaces if one["type"] != "cgroup"]
    config["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro"))


def of_version_2(lines: str) -> str:
    return next(line for line in lines.splitlines() if line.startswith("0::"))


def test_a_container_is_in_its_group_of_version_2(oci: Bundles) -> None:
    name = oci.start("sh", "-c", "sleep 100", edit=in_the_hosts_namespace)
    own = f"0::/{oci.prefix}/{name}"
    pid = oci.state(name)["pid"]
    assert of_version_2(Path(f"/proc/{pid}/cgroup").read_text()) == own
    assert of_version_2(oci.call("exec", name, "cat", "/proc/self/cgroup").stdout) == own
    assert f"{pid}\n" in (TREE / oci.prefix / name / "cgroup.procs").read_text()
    oci.call("delete", "--force", name)
    assert not (TREE / oci.prefix / name).exists()


def test_an_exec_in_a_group_below_that_of_version_2(oci: Bundles) -> None:
    name = oci.start("sleep", "100", edit=in_the_hosts_namespace)
    own = Path(oci.prefix, name, "below")
    for tree in (path for path in TREE.parent.iterdir() if (path / own.parent).is_dir()):
        (tree / own).mkdir()
        if (tree / own / "cpuset.cpus").exists():
            for file in ("cpuset.cpus", "cpuset.mems"):
                (tree / own / file).write_text((tree / own.parent / file).read_text())
    lines = oci.call("exec", "--cgroup", "/below", name, "cat", "/proc/self/cgroup").stdout
    assert of_version_2(lines) == f"0::/{own}"


def test_the_root_of_its_namespace_is_its_group(oci: Bundles) -> None:
    """Also of version 2: a group below the host's root would be shown as ``/..``."""
    assert of_version_2("\n".join(oci.lines("cat", "/proc/self/cgroup"))) == "0::/"


def test_the_tree_of_version_2_is_not_mounted(oci: Bundles) -> None:
    shown = oci.lines("ls", "/sys/fs/cgroup", edit=in_the_hosts_namespace)
    assert "memory" in shown
    assert "unified" not in shown


def users_of_its_own(config: Config) -> None:
    with_users(config)
    spaces = config["linux"]["namespaces"]
    config["linux"]["namespaces"] = [one for one in spaces if one["type"] != "cgroup"]


def test_users_of_its_own(oci: Bundles) -> None:
    open_up(oci)
    name = oci.start("sleep", "100", edit=users_of_its_own)
    pid = oci.state(name)["pid"]
    own = f"0::/{oci.prefix}/{name}"
    assert of_version_2(Path(f"/proc/{pid}/cgroup").read_text()) == own
    assert of_version_2(oci.call("exec", name, "cat", "/proc/self/cgroup").stdout) == own
