"""Expansion of variables and quotes in the words of a Dockerfile.

Dockerfile reference, "Environment replacement": ``$x``, ``${x}``, ``${x:-d}``, ``${x:+d}``,
``${x:?e}`` (each with and without the colon), ``${x#p}``, ``${x##p}``, ``${x%p}``, ``${x%%p}``,
``${x/p/r}``, ``${x//p/r}``. Words in a modifier are expanded themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from wherry.errors import InvalidArgument

_SPECIAL = frozenset("@*#?-$!")
_SPACE = frozenset(" \t\v\f\r\n")
_DEPTH_LIMIT = 64


class BadSubstitution(InvalidArgument):
    """A word that cannot be expanded."""


def expand(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Expand one word; quotes are removed. BadSubstitution.

    A variable that is not set is empty. What a variable holds is not expanded again.
    """
    return "".join(char for char, _ in _Expander(text, variables, escape).run())


def expand_document(text: str, variables: Mapping[str, str], escape: str = "\\") -> str:
    """Expand a here-document: quotes are text, and the escape is one only before ``$`` and itself.

    POSIX.1-2017, Shell Command Language, 2.7.4.
    """
    return "".join(char for char, _ in _Expander(text, variables, escape).run_document())


def expand_words(text: str, variables: Mapping[str, str], escape: str = "\\") -> list[str]:
    """Expand, then split at white space that was neither quoted nor escaped."""
    words: list[str] = []
    word: str | None = None
    for char, literal in _Expander(text, variables, escape).run():
        if char in _SPACE and not literal:
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + char
    return words if word is None else [*words, word]


Piece = tuple[str, bool]
"""One character (or a longer text) and whether it is literal: quoted or escaped."""


class _Expander:
    """One pass over a text."""

    def __init__(
        self, text: str, variables: Mapping[str, str], escape: str, depth: int = 0
    ) -> None:
        if depth > _DEPTH_LIMIT:
            raise BadSubstitution("syntax error: substitutions are nested too deeply")
        self._text = text
        self._variables = variables
        self._escape = escape
        self._position = 0
        self._depth = depth

    def run(self) -> list[Piece]:
        pieces: list[Piece] = []
        while (char := self._take()) is not None:
            if char == "'":
                pieces += self._single_quoted()
            elif char == '"':
                pieces += self._double_quoted()
            elif char == "$":
                pieces += [(c, False) for c in self._dollar()]
            elif char == self._escape:
                escaped = self._take()
                if escaped is not None:
                    pieces.append((escaped, True))
            else:
                pieces.append((char, False))
        return pieces

    def run_document(self) -> list[Piece]:
        pieces: list[Piece] = []
        while (char := self._take()) is not None:
            if char == "$":
                pieces += [(c, True) for c in self._dollar()]
                continue
            if char == self._escape and self._peek() in ("$", self._escape):
                char = self._take() or ""
            pieces.append((char, True))
        return pieces

    def _peek(self) -> str | None:
        return self._text[self._position] if self._position < len(self._text) else None

    def _take(self) -> str | None:
        char = self._peek()
        self._position += char is not None
        return char

    def _single_quoted(self) -> list[Piece]:
        end = self._text.find("'", self._position)
        if end < 0:
            raise BadSubstitution(
                "unexpected end of statement while looking for matching single-quote"
            )
        quoted = self._text[self._position : end]
        self._position = end + 1
        return [(char, True) for char in quoted]

    def _double_quoted(self) -> list[Piece]:
        pieces: list[Piece] = []
        while (char := self._take()) is not None:
            if char == '"':
                return pieces
            if char == "$":
                pieces += [(c, True) for c in self._dollar()]
                continue
            if char == self._escape and self._peek() in ('"', "$", self._escape):
                char = self._take() or ""
            pieces.append((char, True))
        raise BadSubstitution("unexpected end of statement while looking for matching double-quote")

    def _dollar(self) -> str:
        if self._peek() == "{":
            self._position += 1
            return self._braces()
        name = self._name()
        return self._variables.get(name, "") if name else "$"

    def _name(self) -> str:
        rest = self._text[self._position :]
        match = re.match(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+", rest, re.ASCII)
        if match:
            self._position += match.end()
            return match[0]
        if rest and rest[0] in _SPECIAL:
            self._position += 1
            return rest[0]
        return ""

    def _braces(self) -> str:
        name = self._name() if self._peek() not in ("}", "{") else ""
        if not name:
            raise BadSubstitution("syntax error: bad substitution")
        char = self._take()
        if char == "}":
            return self._variables.get(name, "")
        if char is None:
            raise BadSubstitution("syntax error: missing '}'")
        colon = char == ":"
        operator = self._take() if colon else char
        if operator is not None and operator in "+-?":
            return self._default(name, operator, colon)
        if operator is not None and operator in "#%/" and not colon:
            return self._pattern(name, operator)
        raise BadSubstitution(f"unsupported modifier ({operator or ''}) in substitution")

    def _default(self, name: str, operator: str, colon: bool) -> str:
        word = self._expanded(self._until_brace())
        value = self._variables.get(name)
        given = value is not None and (value != "" or not colon)
        if operator == "+":
            return word if given else ""
        if operator == "?" and not given:
            state = "empty" if colon and value is not None else "unset"
            raise BadSubstitution(f"{name}: {word or f'is not allowed to be {state}'}")
        return (value or "") if given else word

    def _pattern(self, name: str, operator: str) -> str:
        greedy = self._peek() == operator
        self._position += greedy
        body = self._until_brace()
        value = self._variables.get(name, "")
        if operator == "/":
            return self._replaced(value, body, every=greedy)
        pattern = _glob(self._literal_glob(body), self._escape)
        return _trimmed(value, pattern, prefix=operator == "#", greedy=greedy)

    def _replaced(self, value: str, body: str, *, every: bool) -> str:
        pattern, replacement = self._split_at_slash(body)
        if not pattern:
            return value
        compiled = re.compile(_glob(self._literal_glob(pattern), self._escape), re.DOTALL)
        text = self._expanded(replacement)
        return compiled.sub(lambda _: text, value, count=0 if every else 1)

    def _split_at_slash(self, body: str) -> tuple[str, str]:
        position = 0
        while position < len(body):
            if body[position] == self._escape:
                position += 1
            elif body[position] == "/":
                return body[:position], body[position + 1 :]
            position += 1
        return body, ""

    def _literal_glob(self, text: str) -> str:
        """Expand a pattern; quoted and escaped characters lose their meaning in it."""
        expander = _Expander(text, self._variables, self._escape, self._depth + 1)
        return "".join(
            self._escape + char if literal and char in ("*", "?", self._escape) else char
            for char, literal in expander.run()
        )

    def _expanded(self, text: str) -> str:
        expander = _Expander(text, self._variables, self._escape, self._depth + 1)
        return "".join(char for char, _ in expander.run())

    def _until_brace(self) -> str:
        """The raw text up to the brace that closes this substitution."""
        start, depth, quote = self._position, 0, ""
        while (char := self._take()) is not None:
            if char == self._escape and quote != "'":
                self._take()
            elif quote:
                quote = "" if char == quote else quote
            elif char in "\"'":
                quote = char
            elif char == "$" and self._peek() == "{":
                depth += 1
                self._position += 1
            elif char == "}":
                if not depth:
                    return self._text[start : self._position - 1]
                depth -= 1
        raise BadSubstitution("syntax error: missing '}'")


def _glob(pattern: str, escape: str) -> str:
    """A shell pattern with ``*`` and ``?`` as a regular expression.

    All stars but the last take as little as they can, for good, so that matching is never
    exponential; where a match ends depends on the last star only.
    """
    parts = [""]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == escape and position + 1 < len(pattern):
            position += 1
            parts[-1] += re.escape(pattern[position])
        elif char == "*":
            parts.append("")
        else:
            parts[-1] += "." if char == "?" else re.escape(char)
        position += 1
    if len(parts) == 1:
        return parts[0]
    first, *middle, last = parts
    return first + "".join(f"(?>.*?{part})" for part in middle if part) + ".*" + last


def _trimmed(value: str, pattern: str, *, prefix: bool, greedy: bool) -> str:
    compiled = re.compile(pattern, re.DOTALL)
    cuts = range(len(value) + 1)
    for cut in reversed(cuts) if prefix == greedy else cuts:
        part = value[:cut] if prefix else value[cut:]
        if compiled.fullmatch(part):
            return value[cut:] if prefix else value[:cut]
    return value
