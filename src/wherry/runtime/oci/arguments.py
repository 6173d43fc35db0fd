"""Reading a command line. argparse does more, and takes longer than the start of a container."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal

import msgspec

Kind = Literal["flag", "text", "number", "texts", "numbers"]


class Misused(Exception):
    """A command line that is not understood, what follows ``command`` in it if that is given."""

    def __init__(self, text: str, command: str = "") -> None:
        super().__init__(text)
        self.command = command


class Option(msgspec.Struct, frozen=True):
    """``--name``, or ``-s`` for short. Of ``texts`` and ``numbers`` there may be several."""

    name: str
    kind: Kind = "text"
    help: str = ""
    short: str = ""
    default: str | int | None = ""
    choices: tuple[str, ...] = ()
    attribute: str = ""  # where its value is found; by default its name

    @property
    def place(self) -> str:
        return self.attribute or self.name.replace("-", "_")

    @property
    def label(self) -> str:
        return f"-{self.short}/--{self.name}" if self.short else f"--{self.name}"

    def nothing(self) -> Any:
        """Its value where it is not given."""
        if self.kind in ("texts", "numbers"):
            return []
        return False if self.kind == "flag" else self.default


class Command(msgspec.Struct, frozen=True):
    """What follows a command's name: options and words among each other, or, if it takes a
    ``rest``, options first. With ``anything`` nothing is looked at, but for help
    alone."""

    help: str
    options: tuple[Option, ...] = ()
    words: tuple[str, ...] = ()
    last: tuple[str, str] = ("", "")  # a word that may be absent, and what it is then
    rest: str = ""
    anything: bool = False


class _Reader:
    """Goes through arguments once; ``words`` are those that are no options."""

    def __init__(self, options: Sequence[Option], arguments: Sequence[str], into: Any) -> None:
        self._long = {option.name: option for option in options}
        self._short = {option.short: option for option in options if option.short}
        self._left = list(arguments)
        self._values = into
        self.words: list[str] = []
        for option in options:
            setattr(into, option.place, option.nothing())

    def read(self, *, options_first: bool) -> None:
        while self._left:
            argument = self._left.pop(0)
            if argument == "--":
                break
            if argument.startswith("--"):
                self._take_long(argument)
            elif argument.startswith("-") and len(argument) > 1:
                self._take_short(argument)
            else:
                self.words.append(argument)
                if options_first:
                    break
        self.words += self._left

    def _take_long(self, argument: str) -> None:
        name, given, value = argument[2:].partition("=")
        option = self._long.get(name)
        if option is None:
            raise Misused(f"unrecognized arguments: {argument}")
        if option.kind == "flag" and given:
            raise Misused(f"argument {option.label}: ignored explicit argument {value!r}")
        self._set(option, value if given else None)

    def _take_short(self, argument: str) -> None:
        option = self._short.get(argument[1])
        if option is None:
            raise Misused(f"unrecognized arguments: {argument}")
        more = argument[2:]
        if option.kind != "flag":
            self._set(option, more or None)
            return
        self._set(option, None)
        if more:
            self._take_short(f"-{more}")

    def _set(self, option: Option, text: str | None) -> None:
        if option.kind == "flag":
            setattr(self._values, option.place, True)
            return
        if text is None:
            if not self._left:
                raise Misused(f"argument {option.label}: expected one argument")
            text = self._left.pop(0)
        value = _value(option, text)
        if option.kind in ("texts", "numbers"):
            getattr(self._values, option.place).append(value)
        else:
            setattr(self._values, option.place, value)


def _value(option: Option, text: str) -> str | int:
    if option.choices and text not in option.choices:
        raise Misused(f"argument {option.label}: {_not_one_of(text, option.choices)}")
    if option.kind not in ("number", "numbers"):
        return text
    try:
        return int(text)
    except ValueError:
        raise Misused(f"argument {option.label}: invalid int value: {text!r}") from None


def _not_one_of(text: str, choices: Sequence[str]) -> str:
    return f"invalid choice: {text!r} (choose from {', '.join(map(repr, choices))})"


def read(
    arguments: Sequence[str], general: Sequence[Option], commands: dict[str, Command]
) -> SimpleNamespace:
    """The values of all options and words by their names, and ``command``. :class:`Misused`."""
    values = SimpleNamespace(command="")
    reader = _Reader(general, arguments, values)
    reader.read(options_first=True)
    if not reader.words:
        return values
    name, *own = reader.words
    if name not in commands:
        raise Misused(f"argument COMMAND: {_not_one_of(name, list(commands))}")
    values.command = name
    try:
        _read_command(commands[name], own, values)
    except Misused as error:
        raise Misused(str(error), name) from None
    return values


def _read_command(command: Command, arguments: Sequence[str], values: Any) -> None:
    if command.anything:
        values.help = list(arguments) in (["-h"], ["--help"])
        return
    reader = _Reader(command.options, arguments, values)
    reader.read(options_first=bool(command.rest))
    if getattr(values, "help", False):
        return
    missing = command.words[len(reader.words) :]
    if missing:
        text = f"the following arguments are required: {', '.join(missing)}"
        raise Misused(text)
    words = dict(zip(command.words, reader.words, strict=False))
    more = reader.words[len(command.words) :]
    if command.last[0]:
        words[command.last[0]] = more.pop(0) if more else command.last[1]
    if more and not command.rest:
        raise Misused(f"unrecognized arguments: {' '.join(more)}")
    vars(values).update(words)
    if command.rest:
        setattr(values, command.rest, more)
