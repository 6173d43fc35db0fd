"""The pattern language of ``.dockerignore``, of ``--exclude`` and of sources with wildcards.

Dockerfile reference, ".dockerignore file": Go's ``filepath.Match`` (``*``, ``?``, ``[a-z]``,
``[^a-z]``, ``\\x``), and ``**`` for any number of directories. A pattern that matches a directory
matches all below it; of several patterns the last one that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import Protocol

from wherry.errors import InvalidArgument

_MAGIC = re.compile(r"[*?\[\\]")


class Patterns:
    """Rules in their order; an empty set matches nothing. Paths are relative, without dots."""

    def __init__(self, rules: Iterable[str]) -> None:
        """``!rule`` takes back what earlier ones matched. InvalidArgument names a bad rule."""
        self._rules: list[tuple[Matcher, bool]] = []
        for rule in rules:
            negative = rule.startswith("!")
            pattern = clean_pattern(rule.removeprefix("!"))
            if negative and not pattern:
                raise InvalidArgument('illegal exclusion pattern: "!"')
            if pattern:
                self._rules.append((compile_pattern(pattern), negative))

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def has_exceptions(self) -> bool:
        """True if something below a matched directory may not match."""
        return any(negative for _, negative in self._rules)

    def match(self, path: str) -> bool:
        prefixes = _with_parents(path)
        matched = False
        for pattern, negative in self._rules:
            if matched == negative and any(map(pattern.fullmatch, prefixes)):
                matched = not negative
        return matched


def read_rules(text: str) -> tuple[str, ...]:
    """The rules of an ignore file: comments and empty lines left out, white space trimmed."""
    lines = text.removeprefix("\ufeff").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def clean_pattern(pattern: str) -> str:
    """Without white space, a leading slash and dots; "" if nothing is left."""
    text = pattern.strip()
    if not text:
        return ""
    cleaned = posixpath.normpath(text)
    return "" if cleaned in ("/", "//") else cleaned.lstrip("/")


def has_magic(text: str) -> bool:
    """True if the text is a pattern and not just a name."""
    return bool(_MAGIC.search(text))


class Matcher(Protocol):
    def fullmatch(self, path: str, /) -> object:
        """Something true if the whole path matches."""
        ...


def compile_pattern(pattern: str) -> Matcher:
    """InvalidArgument for a malformed pattern."""
    tokens = _tokens(pattern)
    if sum(token in _STARS for token in tokens) > _STARS_LIMIT:
        return _Automaton(tokens)
    return re.compile("".join(tokens), re.DOTALL)


_NAME_PART = "[^/]*"
_DIRECTORIES = "(?:.*/)?"
_ALL = ".*"
_STARS = frozenset({_NAME_PART, _DIRECTORIES, _ALL})
_STARS_LIMIT = 4
"""With more stars a backtracking matcher takes too long for a pattern made to that end."""


class _Automaton:
    """Matches in time proportional to the product of both lengths, whatever the pattern."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._chars = [None if t in _STARS else re.compile(t, re.DOTALL) for t in tokens]

    def fullmatch(self, path: str, /) -> bool:
        states: set[int] = set()
        self._enter(states, 0)
        for char in path:
            following: set[int] = set()
            for state in states:
                self._step(following, state, char)
            states = following
        return len(self._tokens) in states

    def _enter(self, states: set[int], state: int) -> None:
        """All stars may stand for nothing."""
        states.add(state)
        while state < len(self._tokens) and self._tokens[state] in _STARS:
            state += 1
            states.add(state)

    def _step(self, following: set[int], state: int, char: str) -> None:
        if state == len(self._tokens):
            return
        token, single = self._tokens[state], self._chars[state]
        if single:
            if single.fullmatch(char):
                self._enter(following, state + 1)
        elif token == _DIRECTORIES:
            following.add(state)
            if char == "/":
                self._enter(following, state + 1)
        elif token == _ALL or char != "/":
            self._enter(following, state)


def _tokens(pattern: str) -> list[str]:
    """Regular expressions, each for one character or one of the three kinds of star."""
    result: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if pattern.startswith("**", position):
            position += 2 + pattern.startswith("/", position + 2)
            result.append(_ALL if position >= len(pattern) else _DIRECTORIES)
            continue
        if char == "[":
            item, position = _char_class(pattern, position)
            result.append(item)
            continue
        if char == "\\":
            position += 1
            if position == len(pattern):
                raise InvalidArgument(f"syntax error in pattern: {pattern!r} ends with a backslash")
            result.append(re.escape(pattern[position]))
        else:
            result.append({"*": _NAME_PART, "?": "[^/]"}.get(char) or re.escape(char))
        position += 1
    return result


def _char_class(pattern: str, start: int) -> tuple[str, int]:
    """``[a-z]`` from its bracket on; and where the rest of the pattern starts."""
    position = start + 1
    negated = pattern.startswith("^", position)
    position += negated
    items: list[str] = []
    while position < len(pattern) and (pattern[position] != "]" or not items):
        low, position = _class_char(pattern, position)
        high = low
        if pattern.startswith("-", position) and position + 1 < len(pattern):
            high, position = _class_char(pattern, position + 1)
        if low > high:
            raise InvalidArgument(f"syntax error in pattern: {pattern!r} has an empty range")
        items.append(f"{re.escape(low)}-{re.escape(high)}")
    if position >= len(pattern):
        raise InvalidArgument(f"syntax error in pattern: {pattern!r} has an open bracket")
    return f"(?![/])[{'^' if negated else ''}{''.join(items)}]", position + 1


def _class_char(pattern: str, position: int) -> tuple[str, int]:
    if pattern[position] in "-]":
        raise InvalidArgument(f"syntax error in pattern: {pattern!r} has a malformed bracket")
    if pattern[position] == "\\":
        position += 1
    if position >= len(pattern):
        raise InvalidArgument(f"syntax error in pattern: {pattern!r} has an open bracket")
    return pattern[position], position + 1


def _with_parents(path: str) -> list[str]:
    ends = [index for index, char in enumerate(path) if char == "/"]
    return [path[:end] for end in ends] + [path]
