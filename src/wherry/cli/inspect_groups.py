"""``inspect`` in the groups: ``container inspect``, ``image inspect`` and so on."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.inspect import FORMAT, PATHS, SIZE, inspect
from wherry.cli.options import Arguments, Command, Option

_OPTIONS = {
    "container": (SIZE,),
    "network": (Option("-v --verbose", "Verbose output for diagnostics", "flag"),),
}


def _command(kind: str) -> Command:
    def run(context: Context, arguments: Arguments) -> int:
        return inspect(context, arguments, (kind,))

    return Command(
        f"{kind} inspect [OPTIONS] {kind.upper()} [{kind.upper()}...]",
        f"Display detailed information on one or more {kind}s",
        run,
        (FORMAT, *_OPTIONS.get(kind, ())),
        least=1,
    )


COMMANDS = {f"{kind} inspect": _command(kind) for kind in PATHS}
