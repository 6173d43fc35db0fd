"""The command line of ``wherry-runtime``."""

from __future__ import annotations

import pytest

from wherry.runtime.oci.options import COMMANDS, Options, parse

CHOICES = ", ".join(map(repr, COMMANDS))
NOT_X = "invalid choice: 'x'"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said of a command line that is not understood."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 1
    return capsys.readouterr().err.removeprefix("wherry-runtime").removesuffix("\n")


def test_options_before_and_after_the_command() -> None:
    options = parse(["--root", "/r", "--debug", "run", "-d", "--bundle=/b", "--pid-file", "-", "x"])
    assert (options.root, options.debug, options.command) == ("/r", True, "run")
    assert (options.detach, options.bundle, options.pid_file, options.id) == (True, "/b", "-", "x")
    assert (options.keep, options.preserve_fds, options.console_socket) == (False, 0, "")


def test_options_among_the_words() -> None:
    options = parse(["kill", "x", "--all", "TERM"])
    assert (options.id, options.signal, options.all) == ("x", "TERM", True)
    assert parse(["kill", "x"]).signal == "SIGTERM"
    assert parse(["delete", "x", "-f"]).force


def test_a_program_has_its_options_for_itself() -> None:
    options = parse(["exec", "-te", "A=1", "-eB=2", "--cap", "c", "x", "ls", "-t", "--", "--help"])
    assert (options.tty, options.env, options.cap) == (True, ["A=1", "B=2"], ["c"])
    assert (options.id, options.args) == ("x", ["ls", "-t", "--", "--help"])
    assert parse(["exec", "-g", "1", "-g", "2", "--", "-x", "ls"]).additional_gids == [1, 2]
    assert parse(["exec", "--", "-x", "ls"]).id == "-x"


def test_what_is_given_twice_counts_once_more() -> None:
    first, second = parse(["exec", "-e", "A", "x"]), parse(["exec", "x"])
    assert (first.env, second.env) == (["A"], [])
    assert parse(["run", "-b", "1", "-b", "2", "x"]).bundle == "2"


def test_negative_numbers() -> None:
    options = parse(["update", "--memory", "-1", "--cpu-quota=-1", "x"])
    assert (options.memory, options.cpu_quota, options.cpu_period) == ("-1", -1, None)


def test_anything_after_what_is_refused() -> None:
    assert parse(["checkpoint", "--image-path", "/x", "--help", "id"]).command == "checkpoint"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], ": the following arguments are required: COMMAND"),
        (["--frob", "run"], ": unrecognized arguments: --frob"),
        (["frob"], f": argument COMMAND: invalid choice: 'frob' (choose from {CHOICES})"),
        (["--log-format", "x"], f": argument --log-format: {NOT_X} (choose from 'text', 'json')"),
        (["--root"], ": argument --root: expected one argument"),
        (["run"], " run: the following arguments are required: id"),
        (["run", "--bun", "/b", "x"], " run: unrecognized arguments: --bun"),
        (["run", "-x", "x"], " run: unrecognized arguments: -x"),
        (["run", "x", "y"], " run: unrecognized arguments: y"),
        (["run", "--preserve-fds", "x"], " run: argument --preserve-fds: invalid int value: 'x'"),
        (["run", "--pid-file"], " run: argument --pid-file: expected one argument"),
        (["run", "x", "-b"], " run: argument -b/--bundle: expected one argument"),
        (["list", "--quiet=3"], " list: argument -q/--quiet: ignored explicit argument '3'"),
        (["kill"], " kill: the following arguments are required: id"),
    ],
)  # fmt: skip
def test_what_is_not_understood(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, *arguments) == text


@pytest.mark.parametrize("name", ["", *(name for name in COMMANDS if not COMMANDS[name].anything)])
def test_help_tells_of_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([*([name] if name else []), "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: wherry-runtime {name}")
    expected = COMMANDS[name].options if name else ()
    assert all(f"--{option.name}" in printed for option in expected)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    assert ended.value.code == 0
    assert "spec: 1.2.0" in capsys.readouterr().out


def test_every_value_has_a_place() -> None:
    options: Options = parse(["spec"])
    assert (options.for_others, options.rootless, options.bundle) == (False, "auto", ".")
