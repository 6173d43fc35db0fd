"""``wherry-runtime``: the OCI runtime command line (runtime-spec, runtime.md; runc's options).

For engines other than ours, and to look at a bundle by hand. The set-up is the same as behind the
launcher.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

import msgspec

from wherry.errors import InvalidArgument, WherryError
from wherry.model.runtime_spec import OCI_VERSION, Process, User
from wherry.runtime.oci import Container, containers, send_console
from wherry.runtime.oci_default import default_spec, features, pretty
from wherry.runtime.ops.base import reason
from wherry.runtime.protect import protect_this_process
from wherry.runtime.spawn import Child
from wherry.runtime.terminal import proxy

ROOT = "/run/wherry-runtime"


def main(argv: Sequence[str] | None = None) -> int:
    """The program's entry; returns its exit status."""
    options = _parser().parse_args(argv)
    if options.run in (_create, _run, _exec):
        protect_this_process()
    try:
        status: int = options.run(options) or 0
        return status
    except (WherryError, OSError) as error:
        text = reason(error) if isinstance(error, OSError) else str(error)
        _log(options, text)
        return 1


def _log(options: argparse.Namespace, text: str) -> None:
    """Report an error on standard error, and where engines look for it."""
    sys.stderr.write(f"wherry-runtime: {text}\n")
    if not options.log:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry = {"level": "error", "msg": text, "time": now}
    line = f'time="{now}" level=error msg={msgspec.json.encode(text).decode()}'
    if options.log_format == "json":
        line = msgspec.json.encode(entry).decode()
    with open(options.log, "a", encoding="utf-8") as file:
        file.write(line + "\n")


# --- commands ---


def _container(options: argparse.Namespace) -> Container:
    return Container(options.root, options.id)


def _create(options: argparse.Namespace) -> None:
    container = _container(options)
    child = container.create(options.bundle, preserve_fds=options.preserve_fds)
    try:
        _hand_out(options, child)
    except BaseException:
        container.delete(force=True)
        raise


def _hand_out(options: argparse.Namespace, child: Child) -> None:
    """Give the terminal and the pid to the caller."""
    if child.master_fd is not None:
        if not options.console_socket:
            raise InvalidArgument("a process with a terminal needs --console-socket")
        send_console(options.console_socket, child.master_fd)
    _write_pid(options.pid_file, child.pid)


def _write_pid(path: str, pid: int) -> None:
    if path:
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(temporary, path)


def _start(options: argparse.Namespace) -> None:
    _container(options).start()


def _run(options: argparse.Namespace) -> int:
    container = _container(options)
    child = container.create(options.bundle, preserve_fds=options.preserve_fds)
    try:
        if options.detach or options.console_socket:
            _hand_out(options, child)
        else:
            _write_pid(options.pid_file, child.pid)
        container.start()
    except BaseException:
        container.delete(force=True)
        raise
    if options.detach:
        return 0
    try:
        return _attend(child)
    finally:
        container.delete(force=True)


def _attend(child: Child) -> int:
    """Pass on signals and the terminal until the process ends; returns its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda received, _: _forward(child, received))
    if child.master_fd is not None:
        proxy(child.master_fd, child.pidfd)
    result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    if result is None:
        return 1
    return result.si_status + (0 if result.si_code == os.CLD_EXITED else 128)


def _forward(child: Child, number: int) -> None:
    try:
        signal.pidfd_send_signal(child.pidfd, number)
    except ProcessLookupError:
        pass


def _exec(options: argparse.Namespace) -> int:
    container = _container(options)
    child = container.exec(_process(options, container), preserve_fds=options.preserve_fds)
    if options.detach or options.console_socket:
        _hand_out(options, child)
    else:
        _write_pid(options.pid_file, child.pid)
    return 0 if options.detach else _attend(child)


def _process(options: argparse.Namespace, container: Container) -> Process:
    """The process of an exec: a file, or the container's own with what the options change."""
    if options.process:
        try:
            with open(options.process, "rb") as file:
                return msgspec.json.decode(file.read(), type=Process)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"{options.process} is not a process: {error}") from None
    own = container.spec().process
    if own is None or not options.args:
        raise InvalidArgument("no command specified")
    changes: dict[str, object] = {"args": tuple(options.args), "terminal": options.tty}
    if options.cwd:
        changes["cwd"] = options.cwd
    if options.user:
        changes["user"] = _user(options.user)
    changes["env"] = (*own.env, *options.env)
    return msgspec.structs.replace(own, **changes)


def _user(text: str) -> User:
    uid, _, gid = text.partition(":")
    if not uid.isdigit() or (gid and not gid.isdigit()):
        raise InvalidArgument(f"--user {text!r} is not UID or UID:GID in numbers")
    return User(uid=int(uid), gid=int(gid or 0))


def _state(options: argparse.Namespace) -> None:
    sys.stdout.write(pretty(_container(options).state()) + "\n")


def _kill(options: argparse.Namespace) -> None:
    _container(options).kill(_signal_number(options.signal), everything=options.all)


def _signal_number(text: str) -> int:
    if text.isdigit() and 0 < int(text) <= signal.SIGRTMAX:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    found = getattr(signal, name, None)
    if not isinstance(found, signal.Signals):
        raise InvalidArgument(f"unknown signal {text!r}")
    return int(found)


def _delete(options: argparse.Namespace) -> None:
    container = _container(options)
    if options.force and not os.path.isdir(container.directory):
        return
    container.delete(force=options.force)


def _list(options: argparse.Namespace) -> None:
    states = [container.state() for container in containers(options.root)]
    if options.quiet:
        sys.stdout.write("".join(f"{one.id}\n" for one in states))
    elif options.format == "json":
        sys.stdout.write(pretty(states) + "\n")
    else:
        rows = [("ID", "PID", "STATUS", "BUNDLE")]
        rows += [(one.id, str(one.pid), one.status, one.bundle) for one in states]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            sys.stdout.write("  ".join([*cells, row[3]]) + "\n")


def _spec(options: argparse.Namespace) -> None:
    path = os.path.join(options.bundle, "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(pretty(default_spec()) + "\n")
    except FileExistsError:
        raise InvalidArgument(f"{path} exists already; remove it first") from None


def _features(_: argparse.Namespace) -> None:
    sys.stdout.write(pretty(features()) + "\n")


# --- the command line ---


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("wherry-runtime", description="Run OCI containers.")
    text = f"wherry-runtime version {version('wherry')}\nspec: {OCI_VERSION}"
    parser.add_argument("-v", "--version", action="version", version=text)
    parser.add_argument("--root", default=ROOT, help="where the state of containers is kept")
    parser.add_argument("--log", default="", help="a file for errors")
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    parser.add_argument("--debug", action="store_true", help="accepted and without effect")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_creating(commands)
    _add_others(commands)
    return parser


def _add_creating(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    create = commands.add_parser("create", help="set up a container")
    create.set_defaults(run=_create)
    run = commands.add_parser("run", help="create, start, and wait for a container")
    run.set_defaults(run=_run)
    run.add_argument("-d", "--detach", action="store_true")
    execute = commands.add_parser("exec", help="run a command in a container")
    execute.set_defaults(run=_exec)
    execute.add_argument("-d", "--detach", action="store_true")
    execute.add_argument("-p", "--process", default="", help="a file with the process as JSON")
    execute.add_argument("-t", "--tty", action="store_true")
    execute.add_argument("--cwd", default="")
    execute.add_argument("-e", "--env", action="append", default=[])
    execute.add_argument("-u", "--user", default="")
    for command in (create, run):
        command.add_argument("-b", "--bundle", default=".")
    for command in (create, run, execute):
        command.add_argument("--pid-file", default="")
        command.add_argument("--console-socket", default="")
        command.add_argument("--preserve-fds", type=int, default=0)
        command.add_argument("id")
    execute.add_argument("args", nargs=argparse.REMAINDER)


def _add_others(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    start = commands.add_parser("start", help="execute the program of a created container")
    start.set_defaults(run=_start)
    state = commands.add_parser("state", help="print the state as JSON")
    state.set_defaults(run=_state)
    kill = commands.add_parser("kill", help="send a signal")
    kill.set_defaults(run=_kill)
    kill.add_argument("-a", "--all", action="store_true", help="to all processes")
    delete = commands.add_parser("delete", help="remove a stopped container")
    delete.set_defaults(run=_delete)
    delete.add_argument("-f", "--force", action="store_true", help="kill it if it runs")
    for command in (start, state, kill, delete):
        command.add_argument("id")
    kill.add_argument("signal", nargs="?", default="SIGTERM")
    listing = commands.add_parser("list", help="list containers")
    listing.set_defaults(run=_list)
    listing.add_argument("-f", "--format", choices=["table", "json"], default="table")
    listing.add_argument("-q", "--quiet", action="store_true")
    spec = commands.add_parser("spec", help="write a config.json to begin with")
    spec.set_defaults(run=_spec)
    spec.add_argument("-b", "--bundle", default=".")
    commands.add_parser("features", help="print what can be done").set_defaults(run=_features)
