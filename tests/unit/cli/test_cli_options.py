from __future__ import annotations

import pytest

from wherry.cli.options import Arguments, Command, Option, UsageError, check_count, parse

_OPTIONS = (
    Option("-i --interactive", "", "flag"),
    Option("-t --tty", "", "flag"),
    Option("--rm", "", "flag"),
    Option("-e --env", "", "list"),
    Option("-m --memory", ""),
    Option("--memory-swap", ""),
    Option("-n --last", "", "number", default="-1"),
    Option("--sig-proxy", "", "flag", default="true"),
)


def _parse(*words: str, passes_on: bool = False) -> Arguments:
    return parse(_OPTIONS, words, passes_on=passes_on)


@pytest.mark.parametrize(
    "words",
    [("--memory", "5m"), ("--memory=5m",), ("-m", "5m"), ("-m5m",), ("-m=5m",), ("-itm", "5m")],
)
def test_ways_to_give_a_value(words: tuple[str, ...]) -> None:
    assert _parse(*words).text("memory") == "5m"


def test_joined_flags_and_their_values() -> None:
    found = _parse("-it", "--rm=false", "--sig-proxy=0")
    assert (found.flag("interactive"), found.flag("tty")) == (True, True)
    assert (found.flag("rm"), found.flag("sig-proxy")) == (False, False)
    assert found.given("rm")


def test_defaults() -> None:
    found = _parse()
    assert (found.number("last"), found.flag("sig-proxy"), found.many("env")) == (-1, True, [])
    assert not found.given("last")


def test_a_value_may_begin_with_a_dash() -> None:
    assert _parse("--memory-swap", "-1", "-n", "-5").number("last") == -5


def test_options_end_where_another_command_begins() -> None:
    found = _parse("-i", "image", "ls", "-t", "--rm", passes_on=True)
    assert found.words == ["image", "ls", "-t", "--rm"]
    assert not found.flag("tty")


def test_options_between_words() -> None:
    found = _parse("a", "-t", "b", "--", "--rm")
    assert (found.words, found.flag("rm")) == (["a", "b", "--rm"], False)


def test_a_dash_alone_is_a_word() -> None:
    assert _parse("-").words == ["-"]


def test_lists_keep_their_order_and_commas() -> None:
    assert _parse("-e", "a=1,2", "--env=b").many("env") == ["a=1,2", "b"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--memry", "1"], "did you mean --memory"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ix"], "'x' in -ix"),
        (["--memory"], "flag needs an argument: --memory"),
        (["-m"], "flag needs an argument: 'm' in -m"),
        (["--rm=perhaps"], "true or false"),
        (["-n", "many"], "not a number"),
    ],
)
def test_mistakes(words: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        _parse(*words)
    assert caught.value.code == 125


@pytest.mark.parametrize(
    ("least", "most", "count", "words"),
    [
        (1, 1, 0, "requires 1 argument$"),
        (2, 2, 1, "requires 2 arguments$"),
        (1, None, 0, "requires at least 1 argument$"),
        (0, 0, 1, "accepts no arguments$"),
        (1, 2, 3, "requires at most 2 arguments$"),
    ],
)
def test_counts(least: int, most: int | None, count: int, words: str) -> None:
    command = Command("x", "", lambda context, arguments: 0, least=least, most=most)
    with pytest.raises(UsageError, match=words):
        check_count(command, "x", count)
