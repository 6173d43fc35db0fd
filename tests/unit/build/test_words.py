"""Expansion of words (Dockerfile reference, "Environment replacement")."""

from __future__ import annotations

import pytest

from wherry.build.words import BadSubstitution, expand, expand_document, expand_words

VARIABLES = {"x": "value", "empty": "", "path": "/a/b/c.tar.gz", "two": "a b", "1": "one"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$x", "value"),
        ("${x}y", "valuey"),
        ("$xy", ""),
        ("$x.y", "value.y"),
        ("a$", "a$"),
        ("$1", "one"),
        (r"\$x", "$x"),
        (r"\\$x", r"\value"),
        ("'$x'", "$x"),
        ('"$x"', "value"),
        ('"a \\"b\\" \\n"', 'a "b" \\n'),
        (r"'a\b'", r"a\b"),
        ("a'b'\"c\"d", "abcd"),
        ("trailing\\", "trailing"),
        ("${x:-d}", "value"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${none-d}", "d"),
        ("${none:-${x}}", "value"),
        ("${none:-$none}", ""),
        ("${none:-'a b'}", "a b"),
        ("${none:-}", ""),
        ("${x:+d}", "d"),
        ("${empty:+d}", ""),
        ("${empty+d}", "d"),
        ("${none+d}", ""),
        ("${x:?e}", "value"),
        ("${empty?e}", ""),
        ("${path#*/}", "a/b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "/a/b/c.tar"),
        ("${path%%.*}", "/a/b/c"),
        ("${path#nomatch}", "/a/b/c.tar.gz"),
        ("${path%?z}", "/a/b/c.tar."),
        (r"${path%\*}", "/a/b/c.tar.gz"),
        ("${x#$x}", ""),
        ("${path/b/B}", "/a/B/c.tar.gz"),
        ("${path//a/A}", "/A/b/c.tAr.gz"),
        (r"${path//\//-}", "-a-b-c.tar.gz"),
        ("${path/.*/}", "/a/b/c"),
        ("${path//[a]/x}", "/a/b/c.tar.gz"),
        ("${none/a/b}", ""),
        ("${x/v/$two}", "a balue"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${", "bad substitution"),
        ("${}", "bad substitution"),
        ("${x", "missing '}'"),
        ("${x:-a", "missing '}'"),
        ("${x:}", "unsupported modifier"),
        ("${x:#a}", "unsupported modifier"),
        ("${x^}", "unsupported modifier"),
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ("${none?}", "none: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${none:?say why}", "none: say why"),
        ("${a:-" * 100 + "}" * 100, "nested too deeply"),
    ],
)
def test_what_cannot_be_expanded(text: str, sentence: str) -> None:
    with pytest.raises(BadSubstitution, match=sentence.replace("(", r"\(")):
        expand(text, VARIABLES)


def test_another_escape() -> None:
    assert expand(r"C:\`$x", VARIABLES, "`") == r"C:\$x"


def test_words_split_at_what_is_not_quoted() -> None:
    assert expand_words('a "b c" $two "$two" d\\ e ""', VARIABLES) == [
        "a", "b c", "a", "b", "a b", "d e",
    ]  # fmt: skip


def test_documents_keep_quotes() -> None:
    assert expand_document("\"$x\" '$x' \\$x \\n", VARIABLES) == "\"value\" 'value' $x \\n"


def test_a_pattern_made_to_take_long_does_not() -> None:
    # Backtracking would take years here, and run into the time limit that every test has.
    pattern = "*a" * 30 + "b"
    assert expand(f"${{v%%{pattern}}}", {"v": "a" * 200}) == "a" * 200
