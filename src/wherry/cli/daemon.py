"""``wherry daemon``: the engine in the foreground, as an interpreter of its own."""

from __future__ import annotations

import os
import sys

from wherry.cli.context import Context
from wherry.cli.options import Arguments, Command


def _run(context: Context, arguments: Arguments) -> int:
    program = [sys.executable, "-m", "wherry.daemon", *arguments.words]
    os.execve(sys.executable, program, dict(context.environ))


COMMANDS = {"daemon": Command("daemon [OPTIONS]", "Run the engine", _run, raw=True)}
