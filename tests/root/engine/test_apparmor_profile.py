"""What the kernel makes of the default AppArmor profile; skipped by name where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.root.engine.conftest import TestEngine, read_all, split_frames

from wherry.engine.host.apparmor import has_default
from wherry.engine.records import ExecOptions
from wherry.engine.spec import host_facts
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not host_facts().apparmor, reason="this machine lacks AppArmor, or does not show it"
    ),
    pytest.mark.usefixtures("nothing_is_left"),
]

CURRENT = "/proc/self/attr/apparmor/current"
OPEN = ("seccomp=unconfined", "systempaths=unconfined")
"""Leaves AppArmor alone between the container and what it tries."""


def host(*options: str, **more: object) -> HostConfig:
    return HostConfig(network_mode="none", security_opt=options, **more)  # type: ignore[arg-type]


def label(engine: TestEngine, given: HostConfig) -> bytes:
    return engine.run("cat", CURRENT, host=given).stdout.strip()


def test_containers_are_confined_by_default(engine: TestEngine) -> None:
    assert has_default(host_facts())
    assert label(engine, host()) == b"wherry-default (enforce)"
    assert label(engine, host(privileged=True)) == b"unconfined"
    assert label(engine, host("apparmor=unconfined")) == b"unconfined"
    assert label(engine, host("apparmor=wherry-default", privileged=True)) == (
        b"wherry-default (enforce)"
    )


def test_another_user_without_new_privileges_is_confined(engine: TestEngine) -> None:
    given = host("no-new-privileges")
    found = engine.run("cat", CURRENT, host=given, user="1000").stdout.strip()
    assert found == b"wherry-default (enforce)"


def test_an_init_of_our_own_and_what_it_starts_are_confined(engine: TestEngine) -> None:
    found = engine.run("cat", "/proc/1/attr/apparmor/current", CURRENT, host=host(init=True))
    assert found.stdout.split(b"\n")[:2] == [b"wherry-default (enforce)"] * 2


def of_exec(engine: TestEngine, container: str, *, tty: bool) -> bytes:
    """With a terminal the process is a clone of the starter, without one a thread's."""
    execs = engine.engine.execs
    wanted = ExecOptions(cmd=("cat", CURRENT), attach_stdout=True, tty=tty)
    stream = execs.start(execs.create(container, wanted), detach=False)
    assert stream is not None
    with stream:
        received = read_all(stream)
    return (received if tty else split_frames(received)[0]).strip()


def test_inspect_and_exec(engine: TestEngine) -> None:
    api = engine.engine.containers
    container = engine.create("sleep", "600", host=host())
    assert api.get(container).apparmor_profile == ""
    api.start(container)
    assert api.get(container).apparmor_profile == "wherry-default"
    assert of_exec(engine, container, tty=False) == b"wherry-default (enforce)"
    assert of_exec(engine, container, tty=True) == b"wherry-default (enforce)"
    api.stop(container, timeout=0)  # a signal of the engine's comes through
    api.remove(container)
    open_one = engine.create("true", host=host(privileged=True))
    api.start(open_one)
    assert api.get(open_one).apparmor_profile == "unconfined"
    api.remove(open_one, force=True)


MOUNT = ("mount", "-t", "tmpfs", "none", "/mnt")


def test_it_does_not_mount(engine: TestEngine) -> None:
    powers = ("SYS_ADMIN",)
    script = ("sh", "-c", f"mkdir -p /mnt; {' '.join(MOUNT)}")
    refused = engine.run(*script, host=host(*OPEN, cap_add=powers))
    assert refused.code != 0
    assert b"ermission denied" in refused.stderr
    opened = host(*OPEN, "apparmor=unconfined", cap_add=powers)
    assert engine.run(*script, host=opened).code == 0


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/vm/swappiness",
        "/proc/sys/fs/nr_open",
    ],
)
def test_settings_of_the_machine_stay_as_they_are(engine: TestEngine, path: str) -> None:
    """It tries to write what is there already, so that nothing is changed if it succeeds."""
    before = Path(path).read_text()
    script = f'read -r value < {path}; echo "$value" > {path}'
    done = engine.run("sh", "-c", script, host=host(*OPEN, cap_add=("ALL",)))
    assert done.code != 0
    assert b"ermission denied" in done.stderr
    assert Path(path).read_text() == before


def test_settings_of_its_own_can_be_changed(engine: TestEngine) -> None:
    script = "echo 4096 > /proc/sys/kernel/msgmax && cat /proc/sys/kernel/msgmax"
    done = engine.run("sh", "-c", script, host=host(*OPEN))
    assert (done.stdout, done.stderr) == (b"4096\n", b"")


def test_hidden_files_are_hidden_twice(engine: TestEngine) -> None:
    given = host(*OPEN, cap_add=("ALL",))
    for path in ("/proc/kcore", "/sys/kernel/security/apparmor/profiles"):
        assert engine.run("head", "-c", "1", path, host=given).code != 0


def test_a_profile_that_is_not_loaded_is_named(engine: TestEngine) -> None:
    api = engine.engine.containers
    container = engine.create("true", host=host("apparmor=no-such-profile"))
    with pytest.raises(InvalidArgument, match=r"no-such-profile.*not loaded"):
        api.start(container)
    api.remove(container)


def test_info_tells_of_it(engine: TestEngine) -> None:
    info = engine.engine.system.info()
    assert "name=apparmor" in info.security_options
    assert info.warnings == ()
