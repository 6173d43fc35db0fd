"""Attacks by what a default container of the engine may do: capabilities and control groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine

from wherry.model.container import HostConfig

pytestmark = pytest.mark.root

AGENTS = sorted(Path("/sys/fs/cgroup").glob("*/release_agent"))


def capabilities(status: bytes) -> dict[str, int]:
    lines = status.decode().splitlines()
    return {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


@pytest.mark.parametrize("user", ["", "1000", "1000:1000"])
def test_cve_2022_24769_nothing_is_inheritable(engine: TestEngine, user: str) -> None:
    """Inheritable capabilities would come back by any file that has them as file capabilities."""
    done = engine.run("cat", "/proc/self/status", user=user)
    assert capabilities(done.stdout)["CapInh"] == 0


def test_cve_2016_8867_another_user_has_no_capability(engine: TestEngine) -> None:
    """Ambient capabilities that stay when the user is another than root."""
    host = HostConfig(network_mode="none", cap_add=("NET_ADMIN",))
    found = capabilities(engine.run("cat", "/proc/self/status", user="1000", host=host).stdout)
    assert (found["CapAmb"], found["CapEff"], found["CapPrm"]) == (0, 0, 0)


ATTACKS = {
    "make a group": "mkdir $dir/evil",
    "raise a limit": "echo -1 >$dir/memory.limit_in_bytes || echo max >$dir/memory.max",
    "move a process": "echo $$ >$dir/cgroup.procs",
    "mount it writable": "mount -o remount,rw $dir && mkdir $dir/evil",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_cve_2022_29162_and_2023_25809_groups_cannot_be_written(
    engine: TestEngine, attack: str
) -> None:
    script = f"""
        done=no
        for dir in /sys/fs/cgroup /sys/fs/cgroup/*/; do
            ({attack}) 2>/dev/null && done=$dir
        done
        ls -d /sys/fs/cgroup >/dev/null && echo $done
    """
    assert engine.run("sh", "-c", script).stdout == b"no\n"


MOUNT_AND_WRITE = """
mkdir -p /tmp/group
for name in memory cpu cpuacct pids freezer devices; do
    mount -t cgroup -o $name group /tmp/group || continue
    echo /evil >/tmp/group/release_agent && echo written
    umount /tmp/group
done
"""


@pytest.mark.skipif(not AGENTS, reason="this machine has no control groups of version 1")
@pytest.mark.parametrize("security", [(), ("seccomp=unconfined",)])
def test_cve_2022_0492_no_release_agent(engine: TestEngine, security: tuple[str, ...]) -> None:
    """A mount of version 1 in new namespaces, whose release_agent the host would execute."""
    before = [path.read_text() for path in AGENTS]
    script = f"""
        cat >/tmp/attack <<'END'
{MOUNT_AND_WRITE}
END
        sh /tmp/attack
        unshare -UrmC sh /tmp/attack
        for file in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent; do
            echo /evil >$file && echo written
        done
    """
    host = HostConfig(network_mode="none", security_opt=security)
    done = engine.run("sh", "-c", script, host=host)
    assert b"written" not in done.stdout
    assert [path.read_text() for path in AGENTS] == before
