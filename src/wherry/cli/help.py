"""The texts of ``--help``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wherry.cli import commands
from wherry.cli.options import Command, Option

_TAIL = "Run 'wherry COMMAND --help' for more information on a command."


def general_help(options: Iterable[Option]) -> str:
    """What ``wherry`` alone prints."""
    common = {name: commands.TOP[name] for name in commands.COMMON}
    rest = {name: commands.TOP[name] for name in sorted(set(commands.TOP) - set(common))}
    groups = {name: ("", text) for name, (text, _) in commands.GROUPS.items()}
    sections = [
        "Usage:  wherry [OPTIONS] COMMAND\n\nBuilds images and runs containers",
        _section("Common Commands", common),
        _section("Management Commands", groups),
        _section("Commands", rest),
        "Global Options:\n" + _options(options),
        _TAIL,
    ]
    return "\n\n".join(sections)


def group_help(name: str) -> str:
    summary, table = commands.GROUPS[name]
    ordered = dict(sorted(table.items()))
    usage = f"Usage:  wherry {name} COMMAND\n\n{summary}"
    tail = _TAIL.replace("COMMAND", f"{name} COMMAND")
    return "\n\n".join([usage, _section("Commands", ordered), tail])


def command_help(command: Command) -> str:
    text = f"Usage:  wherry {command.usage}\n\n{command.summary}"
    shown = _options(command.options)
    return f"{text}\n\nOptions:\n{shown}" if shown else text


def _section(title: str, table: Mapping[str, tuple[str, str]]) -> str:
    width = max(map(len, table)) + 2
    return f"{title}:\n" + "\n".join(
        f"  {name:<{width}}{summary}" for name, (_, summary) in table.items()
    )


def _options(options: Iterable[Option]) -> str:
    rows = [(_names(option), option) for option in options if not option.hidden]
    width = max((len(names) for names, _ in rows), default=0) + 3
    ordered = sorted(rows, key=lambda row: row[1].name.lower())
    return "\n".join(f"{names:<{width}}{_text(option)}" for names, option in ordered)


def _names(option: Option) -> str:
    both = f"{option.short}, {option.long}" if option.short and option.long else ""
    names = both or (option.short or f"    {option.long}")
    return f"  {names} {option.metavar}".rstrip()


def _text(option: Option) -> str:
    return f'{option.text} (default "{option.default}")' if option.default else option.text
