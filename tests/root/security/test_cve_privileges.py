"""Attacks by what a default container of the engine may do: capabilities and control groups."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import OTHER, Bundles
from tests.root.engine.conftest import TestEngine
from tests.root.runtime.boxes import CAPABILITIES, Box, eventually
from tests.root.security.test_cve_copying import inside, root_of

from wherry.model.container import HostConfig
from wherry.model.runtime_spec import Capabilities, User

pytestmark = pytest.mark.root

AGENTS = sorted(Path("/sys/fs/cgroup").glob("*/release_agent"))


GAIN = "/tmp/busybox"
"""A copy of busybox that has all capabilities inheritable, as an image may hold one: who has
inheritable ones of his own gets them by executing it."""
OWNED = "/etc/passwd"


def put_gain(root: Path) -> None:
    """Put the program below a container's root."""
    program = root / GAIN.lstrip("/")
    shutil.copy(root / "bin/busybox", program)
    version_2, every = 0x02000001, 0xFFFFFFFF  # capabilities(7), "File capability extended attr..."
    os.setxattr(program, "security.capability", struct.pack("<5I", version_2, 0, every, 0, every))


def take(user: str) -> tuple[str, ...]:
    """A command that only somebody with capabilities can carry out."""
    return (GAIN, "chown", user.partition(":")[0], OWNED)


@pytest.fixture(params=["1000", "1000:1000"])
def unprivileged(engine: TestEngine, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A container of a user's, which executes the program as soon as it is there; and the user."""
    user: str = request.param
    script = f"while [ ! -e /tmp/there ]; do sleep 0.1; done; {' '.join(take(user))}"
    host = HostConfig(network_mode="none", cap_add=("NET_ADMIN",))
    container = engine.create(
        "sh", "-c", f"exec 2>/tmp/told; {script}; sleep 600", user=user, host=host
    )
    engine.engine.containers.start(container)
    put_gain(root_of(engine, container))
    yield container, user
    engine.engine.containers.remove(container, force=True)


def test_cve_2022_24769_nothing_is_gained_by_inheriting(
    engine: TestEngine, unprivileged: tuple[str, str]
) -> None:
    """Inheritable capabilities come back by any file that has them as file capabilities."""
    container, user = unprivileged
    root = root_of(engine, container)
    (root / "tmp/there").touch()
    eventually(lambda: (root / "tmp/told").exists() and b"\n" in (root / "tmp/told").read_bytes())
    for tty in (False, True):  # by a thread, by a clone
        said = inside(engine, container, *take(user), tty=tty)
        assert b"Operation not permitted" in said
    assert b"Operation not permitted" in (root / "tmp/told").read_bytes()
    assert (root / OWNED.lstrip("/")).stat().st_uid == 0


def test_cve_2022_24769_who_inherits_gains(box: Box) -> None:
    """The attack is a real one."""
    inheriting = Capabilities(bounding=CAPABILITIES, inheritable=CAPABILITIES)
    user = {"process_user": User(uid=1000, gid=1000), "process_capabilities": inheriting}
    process = box.start("sleep", "100", **user)
    put_gain(Path(f"/proc/{process.pid}/root"))
    changes = {"user": user["process_user"], "capabilities": inheriting}
    assert box.exec(process, *take("1000"), **changes).code == 0


@pytest.mark.skipif(bool(OTHER), reason="not our own runtime")
def test_cve_2022_29162_an_exec_with_more_capabilities_does_not_inherit(oci: Bundles) -> None:
    """Those of ``exec --cap`` were inheritable, too, and so came back to another user."""
    name = oci.start("sleep", "100")
    root = oci.directory / name / "rootfs"
    put_gain(root)
    call = ("exec", "--cap", "CAP_CHOWN", "--user", "1000:1000", name, *take("1000"))
    done = oci.call(*call, check=False)
    assert "Operation not permitted" in done.stderr
    assert (root / OWNED.lstrip("/")).stat().st_uid == 0


def test_cve_2016_8867_another_user_has_no_capability(
    engine: TestEngine, unprivileged: tuple[str, str]
) -> None:
    """Ambient capabilities that stay when the user is another than root."""
    container, user = unprivileged
    done = engine.run("chown", user.partition(":")[0], OWNED, user=user)
    assert b"Operation not permitted" in done.stderr
    for tty in (False, True):
        said = inside(engine, container, "chown", "1000", OWNED, tty=tty)
        assert b"Operation not permitted" in said
        status = inside(engine, container, "grep", "^Cap", "/proc/self/status", tty=tty)
        held = {line.split()[0]: int(line.split()[1], 16) for line in status.splitlines()}
        del held[b"CapBnd:"]
        assert set(held.values()) == {0}


OPEN = ("seccomp=unconfined", "apparmor=unconfined")
APART = "/borrowed/unshare -UrmC"
"""With users, mounts and control groups of one's own. Busybox's has no -C."""
ATTACKS = {
    "make a group": "mkdir $dir/evil",
    "raise a limit": "echo -1 >$dir/memory.limit_in_bytes || echo max >$dir/memory.max",
    "move a process": "echo $$ >$dir/cgroup.procs",
    "mount it writable": "mount -o remount,rw $dir && mkdir $dir/evil",
    "mount it anew": f"{APART} sh -c 'mkdir -p /tmp/new && "
    "{ mount -t cgroup -o memory new /tmp/new || mount -t cgroup2 new /tmp/new; } && "
    "mkdir /tmp/new/evil && rmdir /tmp/new/evil'",
}


def borrowed(program: str, place: str) -> tuple[str, ...]:
    """Binds of one of the host's programs and of its libraries."""
    said = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    libraries = [word for word in said.split() if word.startswith("/")]
    return (f"{program}:{place}:ro", *(f"{path}:{path}:ro" for path in libraries))


def tried(engine: TestEngine, script: str, **options: Any) -> bytes:
    """What a script prints in a container that can make namespaces of control groups, if it may."""
    program = shutil.which("unshare")
    assert program is not None
    binds = borrowed(program, APART.partition(" ")[0])
    host = HostConfig(network_mode="none", binds=binds, **options)
    return engine.run("sh", "-c", script, host=host).stdout


def test_cve_2023_25809_who_makes_namespaces_can_mount_them(engine: TestEngine) -> None:
    """Without the filter the attack is a real one."""
    assert tried(engine, f"{ATTACKS['mount it anew']} && echo made", security_opt=OPEN) == b"made\n"


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_cve_2023_25809_groups_cannot_be_written(engine: TestEngine, attack: str) -> None:
    script = f"""
        done=no
        for dir in /sys/fs/cgroup /sys/fs/cgroup/*/; do
            ({attack}) 2>/dev/null && done=$dir
        done
        ls -d /sys/fs/cgroup >/dev/null && echo $done
    """
    assert tried(engine, script) == b"no\n"


MOUNT_AND_WRITE = """
mkdir -p /tmp/group
for name in memory cpu cpuacct pids freezer devices; do
    mount -t cgroup -o $name group /tmp/group || continue
    agent=/tmp/group/release_agent
    [ -e $agent ] && echo "$(cat $agent)" >$agent && echo written
    umount /tmp/group
done
"""
"""What it writes is what is there already: where the attack is a real one, the host is not hurt."""

ADMIN = ("SYS_ADMIN",)
LIFTED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "the filter": {"security_opt": OPEN},
    "the capabilities": {"cap_add": ADMIN, "security_opt": OPEN},
    "the namespace": {"cgroupns_mode": "host"},
    "the filter and the namespace": {"security_opt": OPEN, "cgroupns_mode": "host"},
}


def write_release_agent(engine: TestEngine, **options: Any) -> bytes:
    """Mount version 1, also with new users, and write the name of what the host would execute."""
    script = f"""
        cat >/tmp/attack <<'END'
{MOUNT_AND_WRITE}
END
        sh /tmp/attack
        {APART} sh /tmp/attack
        for agent in /sys/fs/cgroup/*/release_agent; do
            [ -e $agent ] && echo "$(cat $agent)" >$agent && echo written
        done
    """
    return tried(engine, script, **options)


@pytest.mark.skipif(not AGENTS, reason="this machine has no control groups of version 1")
@pytest.mark.parametrize("lifted", LIFTED.values(), ids=LIFTED)
def test_cve_2022_0492_no_release_agent(engine: TestEngine, lifted: dict[str, Any]) -> None:
    """The capabilities and the group namespace each suffice. The filter keeps from it who makes
    users of its own, whom the kernel refuses it, too, since it was mended."""
    assert b"written" not in write_release_agent(engine, **lifted)


@pytest.mark.skipif(not AGENTS, reason="this machine has no control groups of version 1")
def test_cve_2022_0492_who_has_both_can_write_it(engine: TestEngine) -> None:
    """The attack is a real one."""
    before = [path.read_text() for path in AGENTS]
    options = {"cap_add": ADMIN, "security_opt": OPEN, "cgroupns_mode": "host"}
    assert b"written" in write_release_agent(engine, **options)
    assert [path.read_text() for path in AGENTS] == before
