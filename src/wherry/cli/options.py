"""Options and arguments as Docker's command line reads them.

The rules are those of Go's pflag: ``--name value`` and ``--name=value``, ``-n value``, ``-nvalue``
and ``-n=value``; letters of flags may be joined (``-it``); a flag takes ``=true`` or ``=false``;
a value may begin with a dash (``--memory-swap -1``); ``--`` ends the options. A command that runs
another one ends its own options at the first argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wherry.errors import InvalidArgument, WherryError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from wherry.cli.context import Context

    Kind = Literal["flag", "text", "list", "number"]

_TRUE = ("1", "t", "T", "true", "TRUE", "True")
_FALSE = ("0", "f", "F", "false", "FALSE", "False")


class UsageError(InvalidArgument):
    """The command line itself is wrong. ``code`` is the exit status that Docker's has."""

    def __init__(self, message: str, code: int = 125) -> None:
        super().__init__(message)
        self.code = code


class CommandError(WherryError):
    """The command failed in a way that has an exit status of its own, ``code``."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Option:
    """One option. ``default`` is shown in the help and is what an absent option has."""

    __slots__ = ("default", "hidden", "kind", "long", "metavar", "short", "text")

    def __init__(
        self,
        names: str,
        text: str,
        kind: Kind = "text",
        *,
        default: str = "",
        metavar: str = "",
        hidden: bool = False,
    ) -> None:
        """``names`` is ``"-n --name"``, ``"--name"`` or ``"-n"``."""
        words = names.split()
        self.long = next((word for word in words if word.startswith("--")), "")
        self.short = next((word for word in words if not word.startswith("--")), "")
        self.text = text
        self.kind = kind
        self.default = default
        self.metavar = metavar or {"flag": "", "number": "int"}.get(kind, kind)
        self.hidden = hidden

    @property
    def name(self) -> str:
        """How the option is asked for in code: ``name``, or the letter of a short one."""
        return (self.long or self.short).lstrip("-")


class Command:
    """A command: what it takes, and the function that carries it out.

    ``run`` returns the exit status. ``most`` None: any number of arguments. With ``passes_on``
    the options end at the first argument, since what follows is another program's; a ``raw``
    command reads all of its words itself.
    """

    __slots__ = (
        "least",
        "most",
        "options",
        "passes_on",
        "raw",
        "run",
        "summary",
        "usage",
        "usage_code",
    )

    def __init__(
        self,
        usage: str,
        summary: str,
        run: Callable[[Context, Arguments], int],
        options: Iterable[Option] = (),
        *,
        least: int = 0,
        most: int | None = None,
        passes_on: bool = False,
        raw: bool = False,
        usage_code: int = 1,
    ) -> None:
        self.usage = usage
        self.summary = summary
        self.run = run
        self.options = tuple(options)
        self.least = least
        self.most = most
        self.passes_on = passes_on
        self.raw = raw
        self.usage_code = usage_code


class Arguments:
    """Parsed options by name, and the words that are none."""

    def __init__(self, options: Iterable[Option]) -> None:
        self.words: list[str] = []
        self._defaults = {option.name: option.default for option in options}
        self._given: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._given.setdefault(name, []).append(value)

    def __contains__(self, name: str) -> bool:
        """Whether the command has such an option at all."""
        return name in self._defaults

    def given(self, name: str) -> bool:
        """Whether the option was on the command line, whatever its value."""
        if name not in self._defaults:
            raise KeyError(name)
        return name in self._given

    def text(self, name: str) -> str:
        """The last value."""
        return self._given[name][-1] if self.given(name) else self._defaults[name]

    def flag(self, name: str) -> bool:
        return self.text(name) in _TRUE

    def many(self, name: str) -> list[str]:
        """All values, in order."""
        return list(self._given[name]) if self.given(name) else []

    def number(self, name: str) -> int:
        """The value as a whole number, 0 without one."""
        return parse_number(self.text(name) or "0", name)


def parse_number(text: str, name: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise UsageError(
            f'invalid argument "{text}" for "--{name}" flag: it is not a number'
        ) from None


class _Parser:
    def __init__(self, options: Iterable[Option], *, passes_on: bool) -> None:
        options = tuple(options)
        self.result = Arguments(options)
        self._passes_on = passes_on
        self._by_name = {option.long: option for option in options if option.long}
        self._by_name |= {option.short: option for option in options if option.short}

    def parse(self, words: Sequence[str]) -> Arguments:
        waiting = list(reversed(words))
        while waiting:
            word = waiting.pop()
            if word == "--":
                break
            if word.startswith("--"):
                self._long(word, waiting)
            elif word.startswith("-") and word != "-":
                self._short(word, waiting)
            else:
                self.result.words.append(word)
                if self._passes_on:
                    break
        self.result.words += reversed(waiting)
        return self.result

    def _long(self, word: str, waiting: list[str]) -> None:
        name, equals, value = word.partition("=")
        option = self._by_name.get(name)
        if option is None:
            raise UsageError(f"unknown flag: {name}{_guess(name, self._by_name)}")
        if equals:
            self._add(option, name, value)
        elif option.kind == "flag":
            self.result.add(option.name, "true")
        else:
            self._add(option, name, _next(waiting, f"flag needs an argument: {name}"))

    def _short(self, word: str, waiting: list[str]) -> None:
        letters = word[1:]
        while letters:
            name, letters = f"-{letters[0]}", letters[1:]
            option = self._by_name.get(name)
            if option is None:
                raise UsageError(f"unknown shorthand flag: {name[1:]!r} in {word}")
            if letters.startswith("="):
                self._add(option, name, letters[1:])
                return
            if option.kind == "flag":
                self.result.add(option.name, "true")
                continue
            missing = f"flag needs an argument: {name[1:]!r} in {word}"
            self._add(option, name, letters or _next(waiting, missing))
            return

    def _add(self, option: Option, name: str, value: str) -> None:
        if option.kind == "flag" and value not in _TRUE + _FALSE:
            raise UsageError(f'invalid argument "{value}" for "{name}" flag: want true or false')
        if option.kind == "number":
            parse_number(value, option.name)
        self.result.add(option.name, value)


def _next(waiting: list[str], complaint: str) -> str:
    if not waiting:
        raise UsageError(complaint)
    return waiting.pop()


def _guess(name: str, known: Iterable[str]) -> str:
    near = closest(name, known)
    return f"; did you mean {near}?" if near else ""


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like ``word``, empty if none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), 1, 0.6)), "")


def parse(options: Iterable[Option], words: Sequence[str], *, passes_on: bool = False) -> Arguments:
    """Read a command's words; UsageError says which one is wrong."""
    return _Parser(options, passes_on=passes_on).parse(words)


def check_count(command: Command, name: str, count: int) -> None:
    """UsageError in Docker's words for too few or too many arguments."""
    if command.least <= count and (command.most is None or count <= command.most):
        return
    if command.most == 0:
        wanted = "accepts no arguments"
    else:
        exact = "" if command.least == command.most else "at least "
        number = command.least
        if count > command.least and exact:
            exact, number = "at most ", command.most or 0
        wanted = f"requires {exact}{number} argument{'' if number == 1 else 's'}"
    raise UsageError(f"'wherry {name}' {wanted}", command.usage_code)
