"""From the bytes of a Dockerfile to logical lines.

Dockerfile reference, "Parser directives", "Escape", "Here-documents": directives at the top,
comments, continued lines, and the here-documents of RUN, COPY and ADD.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from wherry.errors import InvalidArgument

_DIRECTIVE = re.compile(r"\s*#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = frozenset({"escape", "syntax", "check"})
_COMMENT = re.compile(r"[ \t]*#")
_HEREDOC = re.compile(r"[0-9]*<<(-?)([^<]+)")
_HEREDOC_INSTRUCTION = re.compile(r"(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s+", re.IGNORECASE)
_FLAGS = re.compile(r"(?:--\S*\s+)*")
_SIZE_LIMIT = 16 * 1024 * 1024


class ParseError(InvalidArgument):
    """The Dockerfile is wrong; the sentence names the line."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}")
        self.line = line


class Heredoc(msgspec.Struct, frozen=True, kw_only=True):
    """One here-document. ``expand`` is false if its delimiter was quoted; ``chomp`` is ``<<-``.

    ``content`` is as written, final newline included.
    """

    name: str
    content: str
    expand: bool
    chomp: bool

    @property
    def data(self) -> str:
        """The content, without leading tabs if ``chomp``."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction: ``number`` is that of its first physical line, from 1."""

    number: int
    text: str
    heredocs: tuple[Heredoc, ...] = ()


class Lines(msgspec.Struct, frozen=True, kw_only=True):
    """A Dockerfile in logical lines."""

    escape: str
    directives: dict[str, str]
    lines: tuple[Line, ...]
    warnings: tuple[str, ...] = ()


def read_lines(source: bytes) -> Lines:
    """Split a Dockerfile; ParseError names the line."""
    physical = _decode(source)
    directives = _read_directives(physical)
    reader = _Reader(physical, directives.get("escape", "\\"))
    lines = tuple(reader.read())
    return Lines(
        escape=reader.escape,
        directives=directives,
        lines=lines,
        warnings=tuple(reader.warnings),
    )


def _decode(source: bytes) -> list[str]:
    if len(source) > _SIZE_LIMIT:
        raise InvalidArgument(f"the Dockerfile is larger than {_SIZE_LIMIT} bytes")
    raw = source.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lines = []
    for number, line in enumerate(raw, 1):
        try:
            lines.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            raise ParseError(number, "the line is not valid UTF-8") from None
        if "\0" in lines[-1]:
            raise ParseError(number, "the line holds a NUL byte")
    return lines


def _read_directives(lines: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.fullmatch(line)
        key = match[1].lower() if match else ""
        if not match or key not in _DIRECTIVES:
            break
        if key in found:
            raise ParseError(number, f"only one {key} parser directive can be used")
        if key == "escape" and match[2] not in ("\\", "`"):
            raise ParseError(number, f"invalid ESCAPE '{match[2]}'. Must be ` or \\")
        found[key] = match[2]
    return found


class _Reader:
    """Walks the physical lines and joins them."""

    def __init__(self, lines: list[str], escape: str) -> None:
        self.escape = escape
        self.warnings: list[str] = []
        self._lines = lines
        self._next = 0
        token = re.escape(escape)
        self._continued = re.compile(rf"(.*[^{token}])?{token}[ \t]*")

    def read(self) -> Iterator[Line]:
        while self._next < len(self._lines):
            number = self._next + 1
            text = self._logical().strip()
            if text:
                heredocs = tuple(self._heredocs(number, text))
                yield Line(number=number, text=text, heredocs=heredocs)

    def _take(self) -> str:
        self._next += 1
        return self._lines[self._next - 1]

    def _logical(self) -> str:
        line = self._take()
        if _COMMENT.match(line):
            return ""
        text = line.lstrip()
        while match := self._continued.fullmatch(text):
            text = match[1] or ""
            more = self._continuation(text)
            if more is None:
                break
            text += more
        return text

    def _continuation(self, text: str) -> str | None:
        """The next line that counts; comments and empty lines in between do not."""
        while self._next < len(self._lines):
            line = self._take()
            if _COMMENT.match(line):
                continue
            if line.strip():
                return line
            if self._next < len(self._lines):
                self._warn_empty(text)
        return None

    def _warn_empty(self, text: str) -> None:
        warning = f"[WARNING]: Empty continuation line found in: {text.strip()}"
        if warning not in self.warnings:
            self.warnings.append(warning)

    def _heredocs(self, number: int, text: str) -> Iterator[Heredoc]:
        for word in heredoc_words(text, self.escape):
            chomp, name, quoted = word
            yield Heredoc(
                name=name,
                content=self._heredoc_content(number, name, chomp),
                expand=not quoted,
                chomp=chomp,
            )

    def _heredoc_content(self, number: int, name: str, chomp: bool) -> str:
        content: list[str] = []
        while self._next < len(self._lines):
            line = self._take()
            if (line.lstrip("\t") if chomp else line) == name:
                return "".join(content)
            content.append(line + "\n")
        raise ParseError(number, f"unterminated heredoc {name}")


def heredoc_words(text: str, escape: str) -> list[tuple[bool, str, bool]]:
    """The here-documents that an instruction announces: (chomp, delimiter, quoted) of each."""
    head = _HEREDOC_INSTRUCTION.match(text)
    if not head or "<<" not in text:
        return []
    rest = text[head.end() :]
    flags = _FLAGS.match(rest)
    if flags and rest[flags.end() :].startswith("["):
        return []
    return [found for word in raw_words(rest, escape) if (found := parse_heredoc(word))]


def parse_heredoc(word: str) -> tuple[bool, str, bool] | None:
    """(chomp, delimiter, quoted) if the word starts a here-document."""
    match = _HEREDOC.fullmatch(word)
    if not match:
        return None
    name = re.sub(r"[\"']", "", match[2])
    if not name:
        return None
    return bool(match[1]), name, name != match[2]


def raw_words(text: str, escape: str) -> list[str]:
    """Split at white space outside of quotes; quotes and escapes stay in the words."""
    words: list[str] = []
    word = quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        if char in " \t\v\f\r\n" and not quote:
            if word:
                words.append(word)
            word = ""
        else:
            if char == quote:
                quote = ""
            elif char in "\"'" and not quote:
                quote = char
            word += char
        position += 1
    return [*words, word] if word else words
