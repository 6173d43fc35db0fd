"""What ``wherry-runtime`` takes on its command line: runc's commands and options."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

from wherry.model.runtime_spec import OCI_VERSION
from wherry.runtime.oci.arguments import Command, Misused, Option, read

ROOT = "/run/wherry-runtime"
PROGRAM = "wherry-runtime"

Options = SimpleNamespace
"""The values of the options and words that the command has, by their names."""

_HELP = Option("help", "flag", "tell of the options", "h")
GENERAL = (
    _HELP,
    Option("version", "flag", "tell the version", "v"),
    Option("root", help="where the state of containers is kept", default=ROOT),
    Option("log", help="a file for errors"),
    Option("log-format", default="text", choices=("text", "json")),
    Option("debug", "flag", "log what is called"),
    Option("systemd-cgroup", "flag", "have systemd make groups"),
    Option("rootless", help="auto or false; true is refused", default="auto"),
    Option("criu", help="accepted: there is no checkpoint"),
)
_HANDING_OUT = (
    Option("pid-file"),
    Option("console-socket"),
    Option("preserve-fds", "number", default=0),
    Option("pidfd-socket", help="a unix socket for the pidfd"),
)
_DETACH = Option("detach", "flag", short="d")
_NO_SUBREAPER = Option("no-subreaper", "flag", "accepted: there is none")
_CREATING = (
    _HELP,
    Option("bundle", short="b", default="."),
    Option("no-pivot", "flag", "for roots on a ram disk"),
    Option("no-new-keyring", "flag"),
    *_HANDING_OUT,
)
_RUNNING = (*_CREATING, _DETACH, Option("keep", "flag", "do not delete it after its end"))
_EXECUTING = (
    _HELP,
    _DETACH,
    Option("process", help="a file with the process as JSON", short="p"),
    Option("tty", "flag", short="t"),
    Option("cwd"),
    Option("env", "texts", short="e"),
    Option("user", short="u"),
    Option("additional-gids", "numbers", short="g"),
    Option("cap", "texts", "one capability more", "c"),
    Option("no-new-privs", "flag"),
    Option("apparmor"),
    Option("process-label"),
    Option("ignore-paused", "flag"),
    Option("cgroup", "texts", "[CONTROLLERS:]PATH below the container's"),
    _NO_SUBREAPER,
    *_HANDING_OUT,
)
_FORMAT = Option("format", short="f", default="table", choices=("table", "json"))
_WATCHING = (
    _HELP,
    Option("stats", "flag", "the figures once, and nothing else"),
    Option("interval", help="between figures: 500ms, 5s, 1m", default="5s"),
)
_NUMBERS = """
    cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpu-idle pids-limit
    blkio-weight
"""
_SIZE = "bytes, or with k, m, g; -1 for no limit"
_UPDATING = (
    _HELP,
    Option("resources", help="a file with limits as JSON, or -", short="r"),
    *(Option(name, "number", default=None) for name in _NUMBERS.split()),
    Option("cpuset-cpus"),
    Option("cpuset-mems"),
    Option("memory", help=_SIZE, default=None),
    Option("memory-reservation", help=_SIZE, default=None),
    Option("memory-swap", help=_SIZE, default=None),
    Option("kernel-memory", help="ignored: kernels from 5.16 on have none"),
    Option("kernel-memory-tcp", help="ignored: kernels from 5.16 on have none"),
    Option("l3-cache-schema", help="refused: there is no Intel RDT"),
    Option("mem-bw-schema", help="refused: there is no Intel RDT"),
)
_WRITING = (
    _HELP,
    Option("bundle", short="b", default="."),
    Option("rootless", "flag", "refused", attribute="for_others"),
)
_ID = ("id",)
_ALL = Option("all", "flag", "to all processes", "a")
_FORCE = Option("force", "flag", "kill it if it runs", "f")
_SIGNAL = ("signal", "SIGTERM")

COMMANDS = {
    "create": Command("set up a container", _CREATING, _ID),
    "run": Command("create, start, and wait for a container", (*_RUNNING, _NO_SUBREAPER), _ID),
    "exec": Command("run a command in a container", _EXECUTING, _ID, rest="args"),
    "start": Command("execute the program of a created container", (_HELP,), _ID),
    "kill": Command("send a signal", (_HELP, _ALL), _ID, _SIGNAL),
    "delete": Command("remove a stopped container", (_HELP, _FORCE), _ID),
    "pause": Command("stop all processes where they are", (_HELP,), _ID),
    "resume": Command("let them go on", (_HELP,), _ID),
    "state": Command("print the state as JSON", (_HELP,), _ID),
    "list": Command("list containers", (_HELP, Option("quiet", "flag", short="q"), _FORMAT)),
    "ps": Command("list the processes of a container", (_HELP, _FORMAT), _ID, rest="args"),
    "events": Command("print figures and out-of-memory kills as JSON", _WATCHING, _ID),
    "update": Command("change the limits of a container", _UPDATING, _ID),
    "spec": Command("write a config.json to begin with", _WRITING),
    "features": Command("print what can be done", (_HELP,)),
    # Whatever options their callers give, the answer is about the command.
    "checkpoint": Command("refused", anything=True),
    "restore": Command("refused", anything=True),
}


def parse(arguments: Sequence[str]) -> Options:
    """What ``command`` is to do; ends the process where that is to tell of options or versions, or
    with 1 where it is not understood."""
    try:
        options = read(arguments, GENERAL, COMMANDS)
        if options.version:
            _tell_version()
        if options.help:
            _tell_usage(options.command)
        if not options.command:
            raise Misused("the following arguments are required: COMMAND")
    except Misused as error:
        sys.stderr.write(f"{PROGRAM} {error.command}".rstrip() + f": {error}\n")
        sys.exit(1)
    return options


def _tell_version() -> None:
    from importlib.metadata import version

    sys.stdout.write(f"{PROGRAM} version {version('wherry')}\nspec: {OCI_VERSION}\n")
    sys.exit(0)


def _tell_usage(command: str) -> None:
    from wherry.runtime.oci.usage import usage

    sys.stdout.write(usage(command))
    sys.exit(0)
