"""Attacks on the runtime's own processes, while they are inside of a container.

A container that was created and not started holds still the moment that these attacks have to
catch: its init has entered everything, and is still the host's interpreter. The attacker is another
container in the same PID namespace, as with ``--pid container:NAME``.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.bundles import CAPABILITIES, OTHER, Bundles, Config, eventually

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(OTHER), reason="not our own runtime")]

TRACER = [*CAPABILITIES, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]


def capable(*names: str) -> Callable[[Config], object]:
    sets = {kind: list(names) for kind in ("bounding", "effective", "permitted")}
    return lambda config: config["process"].update(capabilities=sets)


def joining(oci: Bundles, attacker: str) -> str:
    """A created container in the PID namespace of the attacker's."""
    path = f"/proc/{oci.state(attacker)['pid']}/ns/pid"

    def edit(config: Config) -> None:
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = path

    return oci.create("sleep", "100", edit=edit)


def inner_pid(oci: Bundles, name: str) -> int:
    """Its number in the attacker's namespace."""
    status = Path(f"/proc/{oci.state(name)['pid']}/status").read_text()
    found = re.search(r"NSpid:\s.*\s(\d+)\n", status)
    assert found is not None
    return int(found[1])


def interpreter() -> str:
    return hashlib.sha256(Path(os.path.realpath(sys.executable)).read_bytes()).hexdigest()


def test_the_attacker_sees_the_joining_process(oci: Bundles) -> None:
    """The attacks below would be worth nothing if they looked at nothing."""
    attacker = oci.start("sleep", "1000", edit=capable(*TRACER))
    pid = inner_pid(oci, joining(oci, attacker))
    assert "wherry" in oci.call("exec", attacker, "cat", f"/proc/{pid}/cmdline").stdout


def test_cve_2019_5736_no_way_to_the_interpreter(oci: Bundles) -> None:
    """Opening /proc/PID/exe of a process of the runtime's, to write to the host's file."""
    before = interpreter()
    attacker = oci.start("sleep", "1000", edit=capable(*CAPABILITIES, "CAP_DAC_OVERRIDE"))
    pid = inner_pid(oci, joining(oci, attacker))
    for command in (f"cat /proc/{pid}/exe", f"echo x >/proc/{pid}/exe", f"cat /proc/{pid}/mem"):
        done = oci.call("exec", attacker, "sh", "-c", f"{command} | wc -c", check=False)
        assert "ermission denied" in done.stderr
    assert interpreter() == before


def test_cve_2019_5736_one_that_may_trace_finds_it_read_only(oci: Bundles) -> None:
    """The second half of the published exploit: keep the file open for reading until nobody
    executes it any more, then open what is open once more, for writing."""
    before = interpreter()
    attacker = oci.start("sleep", "1000", edit=capable(*TRACER))
    victim = joining(oci, attacker)
    pid = inner_pid(oci, victim)
    script = f"""
        exec 5</proc/{pid}/exe && echo opened >/data/log
        while [ -e /proc/{pid} ]; do sleep 0.05; done
        echo overwritten >/proc/self/fd/5
        echo "ended $?" >>/data/log
    """
    _detached(oci, attacker, script)
    log = oci.directory / attacker / "rootfs/data/log"
    eventually(lambda: log.exists() and log.read_text() == "opened\n")
    oci.call("delete", "--force", victim)
    eventually(lambda: "ended" in log.read_text())
    assert log.read_text() != "opened\nended 0\n"
    errors = (oci.directory / attacker / "rootfs/data/errors").read_text()
    assert "Read-only file system" in errors
    assert interpreter() == before


def _detached(oci: Bundles, name: str, script: str) -> None:
    """Run a script in the background whose errors go to a file in the container."""
    oci.call("exec", "--detach", name, "sh", "-c", f"exec >/dev/null 2>/data/errors; {script}")


def test_cve_2016_9962_the_joining_process_cannot_be_looked_into(oci: Bundles) -> None:
    """Taking descriptors of the host's out of a process that has just come in."""
    attacker = oci.start("sleep", "1000", edit=capable(*CAPABILITIES, "CAP_DAC_OVERRIDE"))
    pid = inner_pid(oci, joining(oci, attacker))
    for name in ("fd/0", "root/", "cwd/"):
        done = oci.call("exec", attacker, "ls", "-L", f"/proc/{pid}/{name}", check=False)
        assert "ermission denied" in done.stderr, name


def test_cve_2016_9962_one_that_may_trace_finds_no_file_of_the_hosts(oci: Bundles) -> None:
    attacker = oci.start("sleep", "1000", edit=capable(*TRACER))
    victim = joining(oci, attacker)
    pid = oci.state(victim)["pid"]
    targets = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    allowed = {"/dev/null", str(oci.directory / victim / "output")}
    fifo = str(oci.directory / "root" / victim / "exec.fifo")  # on which it waits for its start
    assert targets <= {*allowed, fifo}
    root = os.stat(f"/proc/{pid}/root")
    assert os.path.samestat(root, os.stat(oci.directory / victim / "rootfs"))
    assert os.path.samestat(os.stat(f"/proc/{pid}/cwd"), root)


def test_the_environment_of_the_caller_does_not_come_in(
    oci: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    assert oci.lines("env") == ["PATH=/bin", "HOME=/root"]
    attacker = oci.start("sleep", "1000", edit=capable(*TRACER))
    pid = inner_pid(oci, joining(oci, attacker))
    found = oci.call("exec", attacker, "cat", f"/proc/{pid}/environ").stdout
    assert "PATH=" in found
    assert "SECRET_OF_THE_HOST" not in found
