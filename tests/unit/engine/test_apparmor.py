from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from wherry.engine.host import apparmor
from wherry.engine.spec import HostFacts
from wherry.sys.caps import NAMES

PLAIN = HostFacts(
    cgroup_mode="unified", kernel=(6, 1), machine="x86_64", capabilities=NAMES, cpus=1
)
CONFINING = HostFacts(
    cgroup_mode="unified",
    kernel=(6, 1),
    machine="x86_64",
    capabilities=NAMES,
    cpus=1,
    apparmor=True,
)


class Kernel:
    """A list of loaded profiles, and a parser that adds what it is given."""

    def __init__(self, directory: Path) -> None:
        self.profiles = directory / "profiles"
        self.profiles.write_text("other (enforce)\nwherry-default-2 (enforce)\n")
        self.given = directory / "given"
        self.parser = directory / "apparmor_parser"

    def install_parser(self, script: str = "") -> None:
        line = "wherry-default (enforce)"
        self.parser.write_text(
            f"#!/bin/sh\n{script}\ncat >> {self.given}\necho '{line}' >> {self.profiles}\n"
        )
        self.parser.chmod(stat.S_IRWXU)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(tmp_path)
    monkeypatch.setattr(apparmor, "_LOADED", str(made.profiles))
    monkeypatch.setattr(apparmor, "_PARSERS", (str(tmp_path / "nowhere"), str(made.parser)))
    monkeypatch.setattr(apparmor, "_OWN_LABEL", str(tmp_path / "label"))
    return made


def test_the_profile_is_loaded_once(kernel: Kernel) -> None:
    kernel.install_parser()
    assert apparmor.has_default(CONFINING)
    assert apparmor.has_default(CONFINING)
    assert kernel.given.read_text().count("profile wherry-default ") == 1
    assert apparmor.warnings(CONFINING) == ()


def test_it_is_loaded_again_after_somebody_took_it_away(kernel: Kernel) -> None:
    kernel.install_parser()
    assert apparmor.has_default(CONFINING)
    kernel.profiles.write_text("")
    assert apparmor.has_default(CONFINING)
    assert kernel.given.read_text().count("profile wherry-default ") == 2


def test_without_a_parser_there_is_a_warning(kernel: Kernel) -> None:
    assert not apparmor.has_default(CONFINING)
    assert apparmor.warnings(CONFINING) == (apparmor.NOT_LOADED,)
    assert apparmor.shown("", CONFINING) == "unconfined"


def test_a_parser_that_fails_is_logged(kernel: Kernel, caplog: pytest.LogCaptureFixture) -> None:
    kernel.install_parser("echo 'syntax error' >&2; exit 1")
    assert not apparmor.has_default(CONFINING)
    assert "syntax error" in caplog.text


def test_nothing_is_done_where_there_is_no_apparmor(kernel: Kernel) -> None:
    kernel.install_parser()
    assert not apparmor.has_default(PLAIN)
    assert not kernel.given.exists()
    assert (apparmor.warnings(PLAIN), apparmor.shown("", PLAIN)) == ((), "")


@pytest.mark.parametrize(
    ("label", "peer"),
    [
        ("unconfined\n", "unconfined"),
        ("lxc-container-default (enforce)\n", '"lxc-container-default"'),
        ("/usr/bin/my engine (complain)\0", '"/usr/bin/my engine"'),
        ('bad"name (enforce)\n', "unconfined"),
    ],
)
def test_the_engine_may_signal_whatever_it_runs_as(
    kernel: Kernel, tmp_path: Path, label: str, peer: str
) -> None:
    kernel.install_parser()
    (tmp_path / "label").write_text(label)
    assert apparmor.has_default(CONFINING)
    found = re.search(r"signal \(receive\) peer=(.*),", kernel.given.read_text())
    assert found
    assert found[1] == peer


# --- what the profile's names cover ---

_WRITABLE = re.compile(r"/proc/(sysvipc/|sys/kernel/(msg|sem|shm))")
"""What belongs to the container's own IPC namespace."""


def glob(pattern: str) -> re.Pattern[str]:
    """A name of apparmor.d(5), section "Globbing", as a regular expression."""
    words = {"**": ".*", "*": "[^/]*", "{": "(?:", "}": ")", ",": "|"}
    parts = re.findall(r"\*\*|\[.*?\]|.", pattern)
    return re.compile("".join(words.get(p, p if p[0] == "[" else re.escape(p)) for p in parts))


def denied_names(kernel: Kernel) -> list[re.Pattern[str]]:
    kernel.install_parser()
    assert apparmor.has_default(CONFINING)
    rules = re.findall(r"deny (/\S+) \S*w\S*,\n", kernel.given.read_text())
    assert len(rules) > 8
    return [glob(name) for name in rules]


def settings(top: str) -> list[str]:
    """All files below a directory of the kernel's that belong to no process."""
    found = []
    for directory, children, files in os.walk(top):
        if directory == "/proc":
            children[:] = [child for child in children if not child.isdigit()]
        found += [os.path.join(directory, name) for name in files]
    return found


def test_no_setting_of_the_whole_machine_can_be_written(kernel: Kernel) -> None:
    denied = denied_names(kernel)
    found = [*settings("/proc"), *settings("/sys/kernel"), *settings("/sys/module")]
    assert len(found) > 100
    left = [path for path in found if not any(name.fullmatch(path) for name in denied)]
    assert [path for path in left if not _WRITABLE.match(path)] == []
    assert [path for path in left if path.startswith("/proc/sys/kernel/shm")]


@pytest.mark.parametrize(
    "path", ["/proc/12/attr/current", "/proc/12/task/12/comm", "/sys/fs/cgroup/a/cgroup.procs"]
)
def test_what_is_its_own_can_be_written(kernel: Kernel, path: str) -> None:
    assert not any(name.fullmatch(path) for name in denied_names(kernel))
