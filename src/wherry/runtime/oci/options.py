"""What ``wherry-runtime`` takes on its command line: runc's commands and options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from wherry.model.runtime_spec import OCI_VERSION

ROOT = "/run/wherry-runtime"

_Commands = argparse._SubParsersAction  # no public name for the type


class _Help(argparse.HelpFormatter):
    """Of a fixed width: argparse makes one for every option, which each asks the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


class _Parser(argparse.ArgumentParser):
    """Ends with 1 where runc does, and argparse with 2; knows options by their whole names only."""

    def __init__(self, *names: Any, **options: Any) -> None:
        options = {"formatter_class": _Help, "allow_abbrev": False, **options}
        super().__init__(*names, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        sys.stdout.write(f"wherry-runtime version {version('wherry')}\nspec: {OCI_VERSION}\n")
        parser.exit()


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """``command`` of its result is the command's name; options are named as they are.

    Only commands that occur in ``arguments`` are known to it, since making all takes some
    milliseconds; all if none of them occurs.
    """
    made = _Parser("wherry-runtime", description="Run OCI containers.")
    made.add_argument("-v", "--version", action=_Version, nargs=0)
    made.add_argument("--root", default=ROOT, help="where the state of containers is kept")
    made.add_argument("--log", default="", help="a file for errors")
    made.add_argument("--log-format", choices=["text", "json"], default="text")
    made.add_argument("--debug", action="store_true", help="log what is called")
    made.add_argument("--systemd-cgroup", action="store_true", help="have systemd make groups")
    made.add_argument("--rootless", default="auto", help="auto or false; true is refused")
    made.add_argument("--criu", default="", help="accepted: there is no checkpoint")
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")
    asked = [add for names, add in _GROUPS if not names.isdisjoint(arguments)]
    for add in asked or [add for _, add in _GROUPS]:
        add(commands)
    return made


def _add_creating(commands: _Commands[_Parser]) -> None:
    create = commands.add_parser("create", help="set up a container")
    run = commands.add_parser("run", help="create, start, and wait for a container")
    run.add_argument("-d", "--detach", action="store_true")
    run.add_argument("--keep", action="store_true", help="do not delete it after its end")
    run.add_argument("--no-subreaper", action="store_true", help="accepted: there is none")
    for command in (create, run):
        command.add_argument("-b", "--bundle", default=".")
        command.add_argument("--no-pivot", action="store_true", help="for roots on a ram disk")
        command.add_argument("--no-new-keyring", action="store_true")
        _add_handing_out(command)
        command.add_argument("id")


def _add_handing_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--pid-file", default="")
    command.add_argument("--console-socket", default="")
    command.add_argument("--preserve-fds", type=int, default=0)
    command.add_argument("--pidfd-socket", default="", help="a unix socket for the pidfd")


def _add_exec(commands: _Commands[_Parser]) -> None:
    execute = commands.add_parser("exec", help="run a command in a container")
    execute.add_argument("-d", "--detach", action="store_true")
    execute.add_argument("-p", "--process", default="", help="a file with the process as JSON")
    execute.add_argument("-t", "--tty", action="store_true")
    execute.add_argument("--cwd", default="")
    execute.add_argument("-e", "--env", action="append", default=[])
    execute.add_argument("-u", "--user", default="")
    execute.add_argument("-g", "--additional-gids", action="append", type=int, default=[])
    execute.add_argument("-c", "--cap", action="append", default=[], help="one capability more")
    execute.add_argument("--no-new-privs", action="store_true")
    execute.add_argument("--apparmor", default="")
    execute.add_argument("--process-label", default="")
    execute.add_argument("--ignore-paused", action="store_true")
    execute.add_argument(
        "--cgroup", action="append", default=[], help="[CONTROLLERS:]PATH below the container's"
    )
    execute.add_argument("--no-subreaper", action="store_true", help="accepted: there is none")
    _add_handing_out(execute)
    execute.add_argument("id")
    execute.add_argument("args", nargs=argparse.REMAINDER)


def _add_ending(commands: _Commands[_Parser]) -> None:
    commands.add_parser("start", help="execute the program of a created container")
    kill = commands.add_parser("kill", help="send a signal")
    kill.add_argument("-a", "--all", action="store_true", help="to all processes")
    delete = commands.add_parser("delete", help="remove a stopped container")
    delete.add_argument("-f", "--force", action="store_true", help="kill it if it runs")
    commands.add_parser("pause", help="stop all processes where they are")
    commands.add_parser("resume", help="let them go on")
    for name in ("start", "kill", "delete", "pause", "resume"):
        commands.choices[name].add_argument("id")
    kill.add_argument("signal", nargs="?", default="SIGTERM")


def _add_watching(commands: _Commands[_Parser]) -> None:
    state = commands.add_parser("state", help="print the state as JSON")
    state.add_argument("id")
    listing = commands.add_parser("list", help="list containers")
    listing.add_argument("-q", "--quiet", action="store_true")
    processes = commands.add_parser("ps", help="list the processes of a container")
    for command in (listing, processes):
        command.add_argument("-f", "--format", choices=["table", "json"], default="table")
    processes.add_argument("id")
    processes.add_argument("args", nargs=argparse.REMAINDER, help="for ps(1), instead of -ef")
    events = commands.add_parser("events", help="print figures and out-of-memory kills as JSON")
    events.add_argument("--stats", action="store_true", help="the figures once, and nothing else")
    events.add_argument("--interval", default="5s", help="between figures: 500ms, 5s, 1m")
    events.add_argument("id")


def _add_update(commands: _Commands[_Parser]) -> None:
    update = commands.add_parser("update", help="change the limits of a container")
    update.add_argument("-r", "--resources", default="", help="a file with limits as JSON, or -")
    for name in ("--cpu-period", "--cpu-quota", "--cpu-burst", "--cpu-share", "--cpu-rt-period"):
        update.add_argument(name, type=int)
    for name in ("--cpu-rt-runtime", "--cpu-idle", "--pids-limit", "--blkio-weight"):
        update.add_argument(name, type=int)
    for name in ("--cpuset-cpus", "--cpuset-mems"):
        update.add_argument(name, default="")
    for name in ("--memory", "--memory-reservation", "--memory-swap"):
        update.add_argument(name, help="bytes, or with k, m, g; -1 for no limit")
    for name in ("--kernel-memory", "--kernel-memory-tcp"):
        update.add_argument(name, default="", help="ignored: kernels from 5.16 on have none")
    for name in ("--l3-cache-schema", "--mem-bw-schema"):
        update.add_argument(name, default="", help="refused: there is no Intel RDT")
    update.add_argument("id")


def _add_general(commands: _Commands[_Parser]) -> None:
    spec = commands.add_parser("spec", help="write a config.json to begin with")
    spec.add_argument("-b", "--bundle", default=".")
    spec.add_argument("--rootless", action="store_true", dest="for_others", help="refused")
    commands.add_parser("features", help="print what can be done")
    for name in ("checkpoint", "restore"):
        # Whatever options their callers give, the answer is about the command.
        refused = commands.add_parser(name, help="refused", prefix_chars="\0", add_help=False)
        refused.add_argument("ignored", nargs=argparse.REMAINDER)


_Add = Callable[["_Commands['_Parser']"], None]
_GROUPS: tuple[tuple[frozenset[str], _Add], ...] = (
    (frozenset({"create", "run"}), _add_creating),
    (frozenset({"exec"}), _add_exec),
    (frozenset({"start", "kill", "delete", "pause", "resume"}), _add_ending),
    (frozenset({"state", "list", "ps", "events"}), _add_watching),
    (frozenset({"update"}), _add_update),
    (frozenset({"spec", "features", "checkpoint", "restore"}), _add_general),
)
