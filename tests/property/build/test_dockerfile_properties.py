"""What holds for every Dockerfile, word and pattern."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from wherry.build.parser import parse_dockerfile
from wherry.build.patterns import Patterns, _Automaton, _tokens
from wherry.build.words import BadSubstitution, expand, expand_document, expand_words
from wherry.errors import WherryError

KEYWORDS = (
    "FROM RUN COPY ADD ENV ARG LABEL CMD EXPOSE VOLUME HEALTHCHECK ONBUILD SHELL USER".split()
)
_PIECES = st.sampled_from(
    ["\n", "\\\n", " ", "#", "<<E", "<<-'E'", "E\n", "[", '"a"', ",", "]", "--mount=type=",
     "--from=", "cache,", "target=/x", "=", "$", "${", "}", "'", '"', "\\", "x", "CMD", "\t"]
)  # fmt: skip
DOCKERFILES = st.lists(
    st.builds(lambda word, rest: f"{word} {''.join(rest)}", st.sampled_from(KEYWORDS),
              st.lists(_PIECES, max_size=8)),
    max_size=5,
).map("\n".join)  # fmt: skip
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
NAMES = st.text("ab.", min_size=1, max_size=3).filter(lambda name: set(name) != {"."})
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
GLOBS = st.lists(
    st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[^a]"]), min_size=1, max_size=4)
    .map("".join)
    .filter(lambda part: "**" not in part and set(part) != {"."})
    | st.just("**"),
    min_size=1,
    max_size=4,
).map("/".join)


@given(DOCKERFILES.map(str.encode) | st.binary(max_size=100))
def test_parsing_ends_in_instructions_or_a_sentence(source: bytes) -> None:
    try:
        parsed = parse_dockerfile(source)
    except WherryError:
        return
    lines = source.count(b"\n") + 1
    assert parsed.instructions
    assert all(1 <= instruction.line <= lines for instruction in parsed.instructions)


@given(TEXTS)
def test_a_quoted_text_is_itself(text: str) -> None:
    single = "'" + text.replace("'", "'\\''") + "'"
    double = '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'
    assert expand(single, {}) == expand(double, {}) == text
    assert expand("".join(f"\\{char}" for char in text), {}) == text
    assert expand_document(re.sub(r"([\\$])", r"\\\1", text), {}) == text


@given(TEXTS, TEXTS)
def test_values_are_not_expanded_again(before: str, value: str) -> None:
    quoted = "'" + before.replace("'", "'\\''") + "'"
    assert expand(f"{quoted}${{v}}", {"v": value}) == before + value
    assert expand_words('"$v"', {"v": value}) == ([value] if value else [])


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_expanding_ends_in_text_or_a_sentence(text: str) -> None:
    try:
        words = expand_words(text, {"x": "1"})
    except BadSubstitution:
        return
    whole = expand(text, {"x": "1"})
    assert re.sub(r"\s", "", "".join(words)) == re.sub(r"\s", "", whole)


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=8))
def test_trimming_is_that_of_a_slow_matcher(pattern: str, value: str) -> None:
    def matches(text: str) -> bool:
        expression = "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern)
        return re.fullmatch(expression, text) is not None

    prefixes = [n for n in range(len(value) + 1) if matches(value[:n])]
    suffixes = [n for n in range(len(value) + 1) if matches(value[n:])]
    variables = {"v": value}
    assert expand(f"${{v#{pattern}}}", variables) == value[min(prefixes, default=0) :]
    if not pattern.startswith("#"):
        assert expand(f"${{v##{pattern}}}", variables) == value[max(prefixes, default=0) :]
    assert expand(f"${{v%{pattern}}}", variables) == value[: max(suffixes, default=len(value))]
    assert expand(f"${{v%%{pattern}}}", variables) == value[: min(suffixes, default=len(value))]


def _slow_match(parts: list[str], names: list[str]) -> bool:
    """The definition: part by part, ``**`` for any number of directories, at the end for one or
    more names."""
    if not parts:
        return not names
    if parts[0] == "**":
        if len(parts) == 1:
            return bool(names)
        return any(_slow_match(parts[1:], names[n:]) for n in range(len(names) + 1))
    return bool(names) and _name_matches(parts[0], names[0]) and _slow_match(parts[1:], names[1:])


def _name_matches(part: str, name: str) -> bool:
    expression = "".join(
        {"*": ".*", "?": ".", ".": r"\."}.get(piece, piece)
        for piece in re.findall(r"\[[^\]]*\]|.", part)
    )
    return re.fullmatch(expression, name) is not None


@given(GLOBS, PATHS)
def test_a_pattern_matches_a_path_or_one_above_it(pattern: str, path: str) -> None:
    parts = posixpath.normpath(pattern).split("/")
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    expected = any(_slow_match(parts, here.split("/")) for here in [path, *above])
    assert Patterns([pattern]).match(path) is expected


@given(GLOBS, PATHS)
def test_both_matchers_agree(pattern: str, path: str) -> None:
    tokens = _tokens(pattern)
    expression = re.compile("".join(tokens), re.DOTALL)
    assert _Automaton(tokens).fullmatch(path) is bool(expression.fullmatch(path))


@given(st.lists(st.tuples(st.booleans(), GLOBS), max_size=5), PATHS)
def test_the_last_rule_that_matches_decides(rules: list[tuple[bool, str]], path: str) -> None:
    expected = False
    for negative, pattern in rules:
        if Patterns([pattern]).match(path):
            expected = not negative
    written = [("!" if negative else "") + pattern for negative, pattern in rules]
    assert Patterns(written).match(path) is expected
