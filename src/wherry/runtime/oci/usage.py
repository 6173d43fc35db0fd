"""What ``wherry-runtime --help`` prints."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.runtime.oci.arguments import Command, Option
from wherry.runtime.oci.options import COMMANDS, GENERAL, PROGRAM


def usage(name: str) -> str:
    """The commands and the options before them; or those of a command."""
    if name:
        return _usage_of(name, COMMANDS[name])
    commands = ((one, command.help) for one, command in COMMANDS.items())
    return (
        f"usage: {PROGRAM} [OPTIONS] COMMAND ...\n\nRun OCI containers.\n"
        f"\ncommands:\n{_table(commands)}\noptions:\n{_table(map(_row, GENERAL))}"
    )


def _usage_of(name: str, command: Command) -> str:
    words = [word.upper() for word in command.words]
    if command.last[0]:
        words.append(f"[{command.last[0].upper()}]")
    if command.rest:
        words.append(f"[{command.rest.upper()} ...]")
    line = " ".join([f"usage: {PROGRAM} {name} [OPTIONS]", *words])
    return f"{line}\n\n{command.help}\n\noptions:\n{_table(map(_row, command.options))}"


def _row(option: Option) -> tuple[str, str]:
    names = f"-{option.short}, --{option.name}" if option.short else f"--{option.name}"
    if option.kind == "flag":
        return names, option.help
    value = "{" + ",".join(option.choices) + "}" if option.choices else option.name.upper()
    return f"{names} {value}", option.help


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"  {left:<36} {right}".rstrip() + "\n" for left, right in rows)
