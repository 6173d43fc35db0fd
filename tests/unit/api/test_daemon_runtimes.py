"""Other OCI runtimes as the daemon's options name them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wherry.daemon.options import BadOptions, read_options
from wherry.daemon.runtimes import BadRuntime, RuntimeEntry, check_default, runtime_commands


def test_flags_and_file_together(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    entry = {"path": "/bin/sh", "runtimeArgs": ["-e"]}
    file.write_text(json.dumps({"runtimes": {"one": entry}, "default-runtime": "one"}))
    options = read_options([f"--config-file={file}", "--add-runtime", "two=/bin/sh"])
    commands = runtime_commands(options.add_runtime, options.runtimes)
    assert commands == {"one": ("/bin/sh", "-e"), "two": ("/bin/sh",)}
    assert check_default(options.default_runtime, commands) == "one"


def test_programs_are_looked_up() -> None:
    path = runtime_commands(["shell=sh"], {})["shell"][0]
    assert Path(path).is_absolute()


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("one", "want NAME=PATH"),
        ("wherry=/bin/sh", "reserved"),
        ("a/b=/bin/sh", "invalid name"),
        ("one=/no/such/program", "is not there"),
        ("known=/bin/sh", "already defined"),
    ],
)
def test_what_is_wrong_is_said(flag: str, words: str) -> None:
    with pytest.raises(BadRuntime, match=words):
        runtime_commands([flag], {"known": RuntimeEntry(path="/bin/sh")})


def test_the_default_must_be_known() -> None:
    assert check_default("wherry", {}) == "wherry"
    with pytest.raises(BadRuntime, match="not configured"):
        check_default("other", {})


def test_unknown_members_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"runtimes": {"one": {"path": "/bin/sh", "runtimeType": "x"}}}')
    with pytest.raises(BadOptions, match="runtimes"):
        read_options([f"--config-file={file}"])
