"""``.dockerignore``: which files of a build's context stay at home.

The rules are Docker's ("Dockerfile reference", section ".dockerignore file"): one pattern a line,
``#`` comments, Go's ``filepath.Match`` with ``**`` for any number of directories, ``!`` to include
again; the last pattern that matches a path or one of its parents decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from wherry.errors import InvalidArgument


class IgnoreRules:
    """The patterns of an ignore file, ready to be asked."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._rules = [_compile(pattern) for pattern in patterns]
        self.includes = any(not excluded for excluded, _ in self._rules)
        """Whether a pattern includes again what another left out."""

    def excluded(self, path: str) -> bool:
        """Whether ``path`` (relative to the context, with slashes) is left out."""
        parents = _parents(path)
        verdict = False
        for excludes, pattern in self._rules:
            if excludes != verdict and any(pattern.fullmatch(parent) for parent in parents):
                verdict = excludes
        return verdict


def parse_ignore_file(text: str) -> IgnoreRules:
    """Rules from a file's text; InvalidArgument for a pattern that is none."""
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    return IgnoreRules(_clean(line) for line in lines if line and not line.startswith("#"))


def _clean(line: str) -> str:
    negated = line.startswith("!")
    path = line[1:].strip() if negated else line
    if negated and not path:
        raise InvalidArgument('illegal exclusion pattern: "!" in the ignore file')
    path = posixpath.normpath(path).lstrip("/") if path else ""
    return f"!{path}" if negated else path


def _parents(path: str) -> list[str]:
    """The path and all directories above it, within the context."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _compile(pattern: str) -> tuple[bool, re.Pattern[str]]:
    excludes = not pattern.startswith("!")
    text = pattern.removeprefix("!")
    try:
        return excludes, re.compile(_translate(text), re.DOTALL)
    except (re.error, ValueError):
        raise InvalidArgument(f"syntax error in the ignore file's pattern {pattern!r}") from None


def _translate(pattern: str) -> str:
    """A regular expression for one pattern."""
    result, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
            result.append(".*" if at >= len(pattern) else "(?:.*/)?")
            continue
        piece, at = _translate_one(pattern, at)
        result.append(piece)
    return "".join(result)


def _translate_one(pattern: str, at: int) -> tuple[str, int]:
    character = pattern[at]
    if character == "*":
        return "[^/]*", at + 1
    if character == "?":
        return "[^/]", at + 1
    if character == "[":
        end = pattern.index("]", at + 2 if pattern[at + 1 : at + 2] in ("^", "]") else at + 1)
        return _translate_class(pattern[at + 1 : end]), end + 1
    if character == "\\":
        if at + 1 == len(pattern):
            raise ValueError("a backslash ends the pattern")
        return re.escape(pattern[at + 1]), at + 2
    return re.escape(character), at + 1


def _translate_class(body: str) -> str:
    if not body or body == "^":
        raise ValueError("an empty class")
    negated = body.startswith("^")
    inner = re.sub(r"([\[\]&~|^])", r"\\\1", body[negated:])
    return f"(?!/)[{'^' if negated else ''}{inner}]"
