"""The init of our own (``docker run --init``): what it does, and that it is no way out."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from tests.root.runtime.boxes import CAPABILITIES, Box, eventually, read_all, read_until, wait

from wherry.errors import InternalError, NotSupported
from wherry.model.runtime_spec import (
    INIT_ANNOTATION,
    Capabilities,
    LinuxSeccomp,
    LinuxSyscall,
    User,
)
from wherry.runtime.api import CommandNotFound
from wherry.runtime.client import MonitoredProcess
from wherry.runtime.seccomp import profile
from wherry.sys import caps

pytestmark = pytest.mark.root

INIT = {INIT_ANNOTATION: "true"}


def test_the_init_is_process_1_and_the_program_below_it(box: Box) -> None:
    script = "echo $$ $PPID; cat /proc/1/comm; cat /proc/1/cmdline"
    lines = box.run("sh", "-c", script, annotations=INIT).lines
    assert lines[:2] == ["2 1", "wherry-init"]
    assert lines[2].rstrip("\0") == "wherry-init"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_it_ends_as_the_program_did(box: Box, script: str, code: int) -> None:
    assert box.run("sh", "-c", script, annotations=INIT).code == code


def test_signals_reach_the_program(box: Box) -> None:
    result_of = "trap 'echo got; exit 3' TERM; echo ready; while true; do sleep 0.05; done"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = box.start(
            "sh", "-c", result_of, annotations=INIT, attach=True, fds=(theirs.fileno(),)
        )
        read_until(ours, b"ready")
        process.signal(signal.SIGTERM)
        read_until(ours, b"got")
    assert wait(process).code == 3


def test_a_program_without_a_handler_is_ended_by_the_signal(box: Box) -> None:
    process = box.start("sleep", "100", annotations=INIT)
    process.signal(signal.SIGTERM)
    assert wait(process).code == 128 + signal.SIGTERM


def test_orphans_are_reaped(box: Box) -> None:
    script = "(sh -c 'true & true & exec true' &) ; sleep 100"
    process = box.start("sh", "-c", script, annotations=INIT)
    eventually(lambda: len(box.exec(process, "ps").lines) == 4)  # title, init, sh, sleep (and ps)


def _statuses(process: MonitoredProcess, *names: str) -> list[dict[str, str]]:
    """Those lines of the status(5) of the init and of its child."""
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    found = []
    for pid in (str(process.pid), child):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        table = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        found.append({name: table[name] for name in names})
    return found


@pytest.mark.parametrize("uid", [0, 1000])
def test_it_is_confined_as_the_program_is(box: Box, uid: int) -> None:
    process = box.start(
        "sleep",
        "100",
        annotations=INIT,
        process_user=User(uid=uid, gid=uid, additional_gids=(5,)),
        linux_seccomp=profile.default_profile(CAPABILITIES),
    )
    names = "Uid Gid Groups CapInh CapPrm CapEff CapBnd CapAmb Seccomp Seccomp_filters NoNewPrivs"
    init, program = _statuses(process, *names.split())
    assert init == program
    assert init["Seccomp"] == "2"
    assert int(init["CapBnd"], 16) == caps.mask_of(CAPABILITIES)


def test_it_holds_no_descriptor(box: Box) -> None:
    process = box.start("sleep", "100", annotations=INIT)
    assert os.listdir(f"/proc/{process.pid}/fd") == []


def test_its_root_and_directory_are_the_containers(box: Box) -> None:
    process = box.start("sleep", "100", annotations=INIT)
    for name in ("root", "cwd"):
        assert (
            os.stat(f"/proc/{process.pid}/{name}").st_ino
            == os.stat(f"/proc/{process.pid}/root/.").st_ino
        )
    assert not os.path.samestat(os.stat(f"/proc/{process.pid}/root"), os.stat("/"))


def test_the_container_cannot_open_its_interpreter(box: Box) -> None:
    script = "for f in exe environ mem; do echo x >>/proc/1/$f || cat /proc/1/$f >/dev/null; done"
    result = box.run("sh", "-c", script, annotations=INIT)
    assert result.stderr.count(b"ermission denied") == 6


def test_one_that_may_trace_everything_cannot_write_to_the_interpreter(box: Box) -> None:
    everything = (*CAPABILITIES, "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN")
    script = "echo x >/proc/1/exe; cat /proc/1/environ"
    result = box.run(
        "sh",
        "-c",
        script,
        annotations=INIT,
        process_capabilities=Capabilities(
            bounding=everything, effective=everything, permitted=everything
        ),
    )
    assert b"Read-only file system" in result.stderr or b"Text file busy" in result.stderr
    assert result.stdout.strip(b"\0") == b""  # and learns nothing of the engine's environment


def test_what_is_typed_goes_to_the_program_alone(box: Box) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = box.start(
                "sh",
                "-c",
                "trap 'echo stopped; exit 4' INT; echo ready; read x; read y; echo none",
                annotations=INIT,
                process_terminal=True,
                attach=True,
                fds=(theirs.fileno(),),
                open_stdin=True,
                stdin_once=True,
                attach_streams=(True, True, True),
            )
        read_until(ours, b"ready")  # before that the shell would just be ended
        ours.sendall(b"\x03\n")
        assert b"stopped" in read_all(ours)
    assert wait(process).code == 4


def test_a_program_that_is_missing_is_named(box: Box) -> None:
    with pytest.raises(CommandNotFound):
        box.start("nosuch", annotations=INIT)


def test_a_label_for_executed_programs_is_refused(box: Box) -> None:
    with pytest.raises(NotSupported, match="init of the container's own"):
        box.start("true", annotations=INIT, process_selinux_label="some")


def test_a_filter_that_forbids_forks_is_an_error_in_words(box: Box) -> None:
    rule = LinuxSyscall(names=("fork", "vfork", "clone"), action="SCMP_ACT_ERRNO")
    refused = LinuxSeccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,))
    with pytest.raises(InternalError, match="start the program below its init"):
        box.start("true", annotations=INIT, linux_seccomp=refused)
