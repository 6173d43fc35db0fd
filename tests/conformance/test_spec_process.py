"""config.md, section "Process": directory, environment, user, limits, capabilities, end."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.bundles import (
    CAPABILITIES,
    COMMAND,
    OTHER,
    Bundles,
    Config,
    base_config,
)

from wherry.sys.caps import mask_of

pytestmark = pytest.mark.root


def process(**changes: Any) -> Any:
    return lambda config: config["process"].update(changes)


def status(oci: Bundles, edit: Any = id) -> dict[str, str]:
    """The fields of the process's own status (proc(5))."""
    lines = oci.lines("cat", "/proc/self/status", edit=edit)
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 42", 42), ("kill -9 $$; exit 3", 3)]
)
def test_exit_status(oci: Bundles, script: str, code: int) -> None:
    # The third: process 1 is not killed by its own namespace.
    assert oci.run("sh", "-c", script).returncode == code


def test_death_by_a_signal_is_128_and_its_number(oci: Bundles) -> None:
    def edit(config: Config) -> None:
        kept = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
        config["linux"]["namespaces"] = kept

    assert oci.run("sh", "-c", "kill -TERM $$", edit=edit).returncode == 128 + signal.SIGTERM


def test_environment_is_the_one_given(oci: Bundles) -> None:
    env = ["PATH=/bin", "A=1", "B=two words", "HOME=/tmp"]
    assert oci.lines("env", edit=process(env=env)) == env


def test_working_directory(oci: Bundles) -> None:
    assert oci.lines("pwd", edit=process(cwd="/data")) == ["/data"]


@pytest.mark.parametrize("readonly", [False, True])
def test_a_working_directory_that_the_image_lacks_is_made(oci: Bundles, readonly: bool) -> None:
    def edit(config: Config) -> None:
        config["root"]["readonly"] = readonly
        config["process"]["cwd"] = "/data/new/deep"

    script = "pwd; ls -A; touch /data/x 2>/dev/null && echo writable"
    assert oci.lines("sh", "-c", f"{script}; true", edit=edit) == [
        "/data/new/deep",
        *([] if readonly else ["writable"]),
    ]


def test_a_working_directory_must_be_absolute(oci: Bundles) -> None:
    done = oci.run("pwd", edit=process(cwd="data"))
    assert done.returncode != 0
    assert done.stdout == ""


def test_user_and_groups(oci: Bundles) -> None:
    user = {"uid": 12, "gid": 34, "additionalGids": [56, 78]}
    found = status(oci, process(user=user))
    assert found["Uid"].split() == ["12"] * 4
    assert found["Gid"].split() == ["34"] * 4
    assert sorted(found["Groups"].split()) == ["56", "78"]


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o022])
def test_umask(oci: Bundles, umask: int) -> None:
    found = status(oci, process(user={"uid": 0, "gid": 0, "umask": umask}))
    assert int(found["Umask"], 8) == umask


def test_resource_limits(oci: Bundles) -> None:
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    lines = oci.lines("cat", "/proc/self/limits", edit=process(rlimits=limits))
    found = {line[:25].strip(): line[25:].split()[:2] for line in lines}
    assert found["Max open files"] == ["100", "200"]
    assert found["Max core file size"] == ["0", "0"]


def mask(*names: str) -> str:
    return f"{mask_of(names):016x}"


def test_capabilities_are_the_sets_given(oci: Bundles) -> None:
    found = status(oci)
    assert {found[name] for name in ("CapBnd", "CapEff", "CapPrm")} == {mask(*CAPABILITIES)}
    assert {found[name] for name in ("CapInh", "CapAmb")} == {mask()}


def test_ambient_capabilities_reach_another_user(oci: Bundles) -> None:
    one = ["CAP_NET_BIND_SERVICE"]
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")

    def edit(config: Config) -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["capabilities"] = dict.fromkeys(kinds, one)

    found = status(oci, edit)
    fields = ("CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb")
    assert {found[name] for name in fields} == {mask(*one)}


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(oci: Bundles, wanted: bool) -> None:
    assert status(oci, process(noNewPrivileges=wanted))["NoNewPrivs"] == str(int(wanted))


def test_out_of_memory_score(oci: Bundles) -> None:
    lines = oci.lines("cat", "/proc/self/oom_score_adj", edit=process(oomScoreAdj=321))
    assert lines == ["321"]


def test_only_the_standard_streams_are_open(oci: Bundles) -> None:
    # ls itself opens the directory.
    lines = oci.lines("sh", "-c", "ls /proc/$$/fd")
    assert [number for number in lines if int(number) > 2] in ([], ["3"], ["10"])


def test_descriptors_that_are_to_be_preserved(oci: Bundles, tmp_path: Path) -> None:
    passed = tmp_path / "passed"
    passed.write_text("from the caller\n")
    name, where = oci.bundle(base_config("sh", "-c", "cat <&3"))
    run = (*COMMAND, "--root", str(tmp_path / "root"), "run", "--preserve-fds", "1")
    done = subprocess.run(
        ["sh", "-c", 'exec 3<"$0"; exec "$@"', str(passed), *run, "--bundle", str(where), name],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("from the caller\n", "")


def test_a_program_that_does_not_exist(oci: Bundles) -> None:
    done = oci.run("nosuch")
    assert done.returncode != 0
    # runc's log quotes the quotes.
    text = done.stderr.replace("\\", "")
    assert 'exec: "nosuch": executable file not found in $PATH' in text


@pytest.mark.skipif(bool(OTHER), reason="runc ends with 1 and another text")
def test_an_error_is_one_line_and_status_1(oci: Bundles) -> None:
    done = oci.run("/data/file")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
