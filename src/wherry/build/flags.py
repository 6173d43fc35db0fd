"""The ``--name=value`` flags between an instruction's keyword and its arguments."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.errors import InvalidArgument

_SPACE = " \t\v\f\r\n"


class Flags:
    """Flags that were given. Each ``take_*`` removes what it returns; ``finish`` refuses the rest.

    InvalidArgument has Docker's sentence; the parser adds the line.
    """

    def __init__(self, keyword: str, given: Iterable[str]) -> None:
        self._keyword = keyword
        self._values: dict[str, list[str | None]] = {}
        for flag in given:
            name, equals, value = flag.removeprefix("--").partition("=")
            self._values.setdefault(name, []).append(value if equals else None)

    def take(self, name: str) -> str:
        """The value of a flag that may be given once, "" if it is not."""
        values = self.take_all(name)
        if len(values) > 1:
            raise InvalidArgument(f"duplicate flag specified: {name}")
        return values[0] if values else ""

    def take_all(self, name: str) -> tuple[str, ...]:
        values = self._values.pop(name, [])
        if None in values:
            raise InvalidArgument(f"missing a value on flag: {name}")
        return tuple(value for value in values if value is not None)

    def take_bool(self, name: str) -> bool | None:
        """None if the flag is not given."""
        values = self._values.pop(name, [])
        if len(values) > 1:
            raise InvalidArgument(f"duplicate flag specified: {name}")
        if not values:
            return None
        return parse_bool(name, "true" if values[0] is None else values[0])

    def finish(self) -> None:
        for name in self._values:
            raise InvalidArgument(f"unknown flag: --{name} (of {self._keyword})")


def parse_bool(name: str, text: str) -> bool:
    lower = text.lower()
    if lower in ("true", "1"):
        return True
    if lower in ("false", "0"):
        return False
    raise InvalidArgument(f"expecting boolean value for flag {name}, not: {text}")


def split_flags(text: str, escape: str) -> tuple[list[str], str]:
    """Take the leading flags off the arguments of an instruction.

    Quotes and escapes in a flag are resolved, variables are not. ``--`` ends the flags.
    """
    flags: list[str] = []
    rest = text.lstrip(_SPACE)
    while rest.startswith("--"):
        word, rest = _take_word(rest, escape)
        if word == "--":
            break
        flags.append(word)
    return flags, rest


def _take_word(text: str, escape: str) -> tuple[str, str]:
    word = quote = ""
    position = 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'" and position + 1 < len(text):
            position += 1
            word += text[position]
        elif quote:
            word += "" if char == quote else char
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char in _SPACE:
            break
        else:
            word += char
        position += 1
    return word, text[position:].lstrip(_SPACE)
