"""The language of ``.dockerignore``."""

from __future__ import annotations

import pytest

from wherry.build.patterns import Patterns, compile_pattern, has_magic, read_rules
from wherry.errors import InvalidArgument


@pytest.mark.parametrize(
    ("rules", "path", "matches"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("/a", "a", True),
        ("a/", "a", True),
        ("./a//b/../c", "a/c", True),
        ("*.md", "x.md", True),
        ("*.md", "d/x.md", False),
        ("*/*.md", "d/x.md", True),
        ("*/*.md", "d/e/x.md", False),
        ("**/*.md", "x.md", True),
        ("**/*.md", "d/e/x.md", True),
        ("**", "anything/at/all", True),
        ("d/**", "d", False),
        ("d/**", "d/e/f", True),
        ("d/**/f", "d/f", True),
        ("d/**/f", "d/x/y/f", True),
        ("d/**/f", "d/xf", False),
        ("**/d", "x/d/y", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a]", "/", False),
        (r"\*", "*", True),
        (r"\*", "x", False),
        (r"[\]]", "]", True),
        ("a.c", "abc", False),
        ("*.md !keep.md", "keep.md", False),
        ("!keep.md *.md", "keep.md", True),
        ("d !d/keep", "d/keep", False),
        ("d !d/keep", "d/other", True),
        ("d !d/keep d/keep/not", "d/keep/not/x", True),
        ("**foo", "x/foo", True),
        ("**foo", "xfoo", False),
    ],
)
def test_the_last_match_decides(rules: str, path: str, matches: bool) -> None:
    assert Patterns(rules.split()).match(path) is matches


@pytest.mark.parametrize("rule", ["[", "[]", "[a", "[a-", "[z-a]", "a\\", "[-a]", "!"])
def test_a_malformed_rule_is_named(rule: str) -> None:
    with pytest.raises(InvalidArgument, match="pattern"):
        Patterns([rule])


def test_rules_are_lines_without_comments() -> None:
    text = "\ufeff# no\n a \n\n !b\n #a name\n"
    assert read_rules(text) == ("a", "!b", "#a name")


def test_no_rule_matches_nothing() -> None:
    assert not Patterns(["", "  ", "/", "."][:3])
    assert not Patterns([]).match("a")


def test_names_and_patterns_are_told_apart() -> None:
    assert all(map(has_magic, ["a*", "a?", "[a]", "\\a"]))
    assert not has_magic("a/b.c")


def test_a_pattern_made_to_take_long_does_not() -> None:
    # Backtracking would take years here, and run into the time limit that every test has.
    assert not compile_pattern("*a" * 20 + "b").fullmatch("a" * 250)
    assert not compile_pattern("**/a/" * 20 + "b").fullmatch("a/" * 120)
