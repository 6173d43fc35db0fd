"""The ``wherry`` command: find the command, load it, run it, turn errors into exit statuses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence

from wherry.cli import commands
from wherry.cli.context import Context
from wherry.cli.options import (
    Arguments,
    Command,
    CommandError,
    Option,
    UsageError,
    check_count,
    closest,
    parse,
)
from wherry.errors import WherryError

GLOBAL = (
    Option("-H --host", "Engine to connect to (unix:///path or tcp://host:port)"),
    Option("--config", "Directory with config.json, for registry credentials", metavar="dir"),
    Option("--tls", "Use TLS, whoever the engine is", "flag"),
    Option("--tlsverify", "Use TLS and see who the engine is", "flag"),
    Option("--tlscacert", "Authority of the engine's certificate", metavar="file"),
    Option("--tlscert", "Certificate to show to the engine", metavar="file"),
    Option("--tlskey", "Key of that certificate", metavar="file"),
    Option("-v --version", "Print version information and quit", "flag"),
    Option("--help", "Print usage", "flag", hidden=True),
)
_HELP = Option("--help", "Print usage", "flag", hidden=True)


def main() -> int:
    """The console script. Returns the exit status, or does not return at all."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `wherry ps | head` ends in silence
    code = run(sys.argv[1:], os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to do: tearing down the interpreter costs 3 ms


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Carry out a command line and return its exit status."""
    try:
        return _dispatch(words, environ)
    except (UsageError, CommandError) as error:
        _complain(str(error))
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except WherryError as error:
        _complain(str(error))
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain(f"{place}{error.strerror or error}")
        return 1


def _dispatch(words: Sequence[str], environ: Mapping[str, str]) -> int:
    top = parse(GLOBAL, words, passes_on=True)
    if top.flag("version"):
        from wherry import __version__

        print(f"Wherry version {__version__}")
        return 0
    context = Context(
        environ, host=top.text("host"), config=top.text("config"), tls=_tls_options(top)
    )
    asked = top.words
    if asked[:1] == ["help"]:
        asked = [*asked[1:], "--help"]
    found = commands.find(asked)
    if found is None:
        return _no_command(asked)
    name, (module, _), rest = found
    try:
        return _execute(context, name, load(module, name), rest)
    finally:
        context.close()


def _tls_options(top: Arguments) -> dict[str, str]:
    """What was said of TLS, by the name of the option without ``tls``; empty if nothing was."""
    files = {name: top.text(f"tls{name}") for name in ("cacert", "cert", "key")}
    found = {name: path for name, path in files.items() if path}
    if top.flag("tlsverify"):
        found["verify"] = "1"
    return found if found or not top.flag("tls") else {"verify": ""}


def load(module: str, name: str) -> Command:
    """The command ``name`` (``container ls``, ``run``) from its module."""
    from importlib import import_module

    table: dict[str, Command] = import_module(f"wherry.cli.{module}").COMMANDS
    return table[name] if name in table else table[name.split()[-1]]


def _execute(context: Context, name: str, command: Command, words: list[str]) -> int:
    if command.raw:
        arguments = Arguments(())
        arguments.words = words
        return command.run(context, arguments)
    try:
        arguments = parse((*command.options, _HELP), words, passes_on=command.passes_on)
        if arguments.flag("help"):
            from wherry.cli.help import command_help

            print(command_help(command))
            return 0
        check_count(command, name, len(arguments.words))
        return command.run(context, arguments)
    except UsageError as error:
        sys.stdout.flush()
        raise UsageError(
            f"{error}\n\nRun 'wherry {name} --help' for more information", error.code
        ) from None


def _no_command(words: list[str]) -> int:
    from wherry.cli.help import general_help, group_help

    names = [word for word in words if word != "--help"]
    if not names:
        print(general_help(GLOBAL))
        return 0
    first, *rest = names
    if first in commands.GROUPS and not rest:
        print(group_help(first))
        return 0
    group = commands.GROUPS.get(first)
    known = group[1] if group else [*commands.TOP, *commands.GROUPS]
    near = closest(rest[0] if group else first, known)
    if near:
        near = f" (did you mean '{f'{first} ' if group else ''}{near}'?)"
    what = f"wherry {first} {rest[0]}" if group else f"wherry {first}"
    raise UsageError(
        f"unknown command: {what}{near}\n\nRun 'wherry --help' for more information", 1
    )


def _complain(message: str) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"wherry: {message}\n")


if __name__ == "__main__":
    main()
