"""``wherry daemon``: the engine in the foreground, and ``wherry system fsck`` where none runs; both
as an interpreter of its own."""

from __future__ import annotations

import os
import sys

from wherry.cli.context import Context
from wherry.cli.options import Arguments, Command


def _run(context: Context, arguments: Arguments) -> int:
    program = [sys.executable, "-m", "wherry.daemon", *arguments.words]
    os.execve(sys.executable, program, dict(context.environ))


def _fsck(context: Context, arguments: Arguments) -> int:
    program = [sys.executable, "-m", "wherry.daemon.fsck", *arguments.words]
    os.execve(sys.executable, program, dict(context.environ))


COMMANDS = {
    "daemon": Command("daemon [OPTIONS]", "Run the engine", _run, raw=True),
    "fsck": Command("system fsck [OPTIONS]", "Check a data root", _fsck, raw=True),
}
