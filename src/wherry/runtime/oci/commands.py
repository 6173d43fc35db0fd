"""What ``wherry-runtime`` does: the OCI command line (runtime-spec, runtime.md; runc's options).

For engines other than ours, and to look at a bundle by hand. The set-up is the same as behind the
launcher.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from wherry.errors import InvalidArgument, NotFound, NotSupported, WherryError
from wherry.model.malformed import MALFORMED
from wherry.model.runtime_spec import Capabilities, Process, User
from wherry.runtime.launch.spawn import Child
from wherry.runtime.oci.container import Container, send_descriptor
from wherry.runtime.oci.options import ROOT, Options, parse
from wherry.runtime.ops.base import reason

_EXEC_FAILED = 255  # as with runc: what the program itself ended with is seldom that


def command(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    options = parse(arguments)
    try:
        _make_log(options)
        if options.debug:
            _log(options, f"{options.command} in {os.getcwd()}: {list(arguments)}", "debug")
        _check_rootless(options.rootless)
        return _COMMANDS.get(options.command, _running)(options) or 0
    except (WherryError, OSError) as error:
        text = reason(error) if isinstance(error, OSError) else str(error)
        _log(options, text)
        return _EXEC_FAILED if options.command == "exec" else 1


def _make_log(options: Options) -> None:
    """A log that cannot be written is told before anything is done."""
    if not options.log:
        return
    try:
        open(options.log, "ab").close()
    except OSError as error:
        path, options.log = options.log, ""
        raise InvalidArgument(f"cannot open the log {path}: {error.strerror}") from None


def _check_rootless(asked: str) -> None:
    """runc's ``--rootless``; what it takes for true are the words of Go's ``ParseBool``."""
    word = asked.lower()
    if word in ("true", "t", "1"):
        raise NotSupported("--rootless=true is not supported: containers are made by root")
    if word not in ("auto", "false", "f", "0"):
        raise InvalidArgument(f"--rootless {asked!r} is not auto, true or false")


def _log(options: Options, text: str, level: str = "error") -> None:
    """Report an error on standard error, and where engines look for it; less than an error only
    there if they do."""
    if level == "error" or not options.log:
        mark = "level=debug " if level == "debug" else ""
        sys.stderr.write(f"wherry-runtime: {mark}{text}\n")
    if not options.log:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    entry = {"level": level, "msg": text, "time": now}
    line = f'time="{now}" level={level} msg={msgspec.json.encode(text).decode()}'
    if options.log_format == "json":
        line = msgspec.json.encode(entry).decode()
    with open(options.log, "a", encoding="utf-8") as file:
        file.write(line + "\n")


# --- commands ---


def _container(options: Options) -> Container:
    return Container(options.root, options.id)


def _create(options: Options) -> None:
    container = _container(options)
    child = _set_up(options, container)
    try:
        _hand_out(options, child)
    except BaseException:
        container.delete(force=True)
        raise


def _set_up(options: Options, container: Container) -> Child:
    child = container.create(
        options.bundle,
        preserve_fds=options.preserve_fds,
        new_keyring=not options.no_new_keyring,
        systemd=options.systemd_cgroup,
        plain_terminal=options.command == "run" and not options.console_socket,
        no_pivot=options.no_pivot,
    )
    _warn(options, container)
    return child


def _warn(options: Options, container: Container) -> None:
    for text in container.warnings:
        _log(options, text, "warning")


def _hand_out(options: Options, child: Child) -> None:
    """Give the terminal and the pid to the caller."""
    if child.master_fd is not None:
        if not options.console_socket:
            raise InvalidArgument("a process with a terminal needs --console-socket")
        send_descriptor(options.console_socket, child.master_fd, "/dev/ptmx")
    _give(options, child)


def _give(options: Options, child: Child) -> None:
    """Give the pid, and its descriptor if it is wanted."""
    if options.pidfd_socket:
        send_descriptor(options.pidfd_socket, child.pidfd, "pidfd")
    _write_pid(options.pid_file, child.pid)


def _write_pid(path: str, pid: int) -> None:
    if path:
        temporary = f"{path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(str(pid))
        os.rename(temporary, path)


def _start(options: Options) -> None:
    _container(options).start()


def _run(options: Options) -> int:
    container = _container(options)
    child = _set_up(options, container)
    try:
        if options.detach or options.console_socket:
            _hand_out(options, child)
        else:
            _give(options, child)
        container.start()
    except BaseException:
        _remove(options, container)
        raise
    if options.detach:
        return 0
    try:
        return _attend(child)
    finally:
        if not options.keep:
            _remove(options, container)


def _remove(options: Options, container: Container) -> None:
    """Remove a container, unless a start that failed has."""
    if os.path.isdir(container.directory):
        container.delete(force=True)
        _warn(options, container)


def _attend(child: Child) -> int:
    """Pass on signals and the terminal until the process ends; returns its exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda received, _: _forward(child, received))
    if child.master_fd is not None:
        from wherry.runtime.oci.terminal import proxy  # few are called by hand

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


def _exec(options: Options) -> int:
    container = _container(options)
    child = container.exec(
        _process(options, container),
        preserve_fds=options.preserve_fds,
        ignore_paused=options.ignore_paused,
        groups=tuple(options.cgroup),
        plain_terminal=not options.console_socket,
    )
    _warn(options, container)
    if options.detach or options.console_socket:
        _hand_out(options, child)
    else:
        _give(options, child)
    return 0 if options.detach else _attend(child)


def _process(options: Options, container: Container) -> Process:
    """The process of an exec: a file, or the container's own with what the options change."""
    if options.process:
        try:
            with open(options.process, "rb") as file:
                return msgspec.json.decode(file.read(), type=Process)
        except MALFORMED as error:
            raise InvalidArgument(f"{options.process} is not a process: {error}") from None
    own = container.spec().process
    if own is None or not options.args:
        raise InvalidArgument("no command specified")
    changes: dict[str, object] = {"args": tuple(options.args), "terminal": options.tty}
    if options.cwd:
        changes["cwd"] = options.cwd
    user = _user(options.user) if options.user else own.user
    groups = (*user.additional_gids, *options.additional_gids)
    changes["user"] = msgspec.structs.replace(user, additional_gids=groups)
    changes["env"] = (*own.env, *options.env)
    if options.no_new_privs:
        changes["no_new_privileges"] = True
    if options.apparmor:
        changes["apparmor_profile"] = options.apparmor
    if options.process_label:
        changes["selinux_label"] = options.process_label
    if options.cap:
        changes["capabilities"] = _with(own.capabilities or Capabilities(), options.cap)
    return msgspec.structs.replace(own, **changes)


def _with(capabilities: Capabilities, names: Sequence[str]) -> Capabilities:
    """Capabilities and some more, but no inheritable ones (CVE-2022-24769): of those the container
    has, the new ones become ambient, too."""
    more = [name.upper() for name in names]
    return msgspec.structs.replace(
        capabilities,
        bounding=tuple(dict.fromkeys((*capabilities.bounding, *more))),
        effective=tuple(dict.fromkeys((*capabilities.effective, *more))),
        permitted=tuple(dict.fromkeys((*capabilities.permitted, *more))),
        ambient=(*capabilities.ambient, *(set(more) & set(capabilities.inheritable))),
    )


def _user(text: str) -> User:
    uid, _, gid = text.partition(":")
    if not uid.isdigit() or (gid and not gid.isdigit()):
        raise InvalidArgument(f"--user {text!r} is not UID or UID:GID in numbers")
    return User(uid=int(uid), gid=int(gid or 0))


def _state(options: Options) -> None:
    from wherry.runtime.oci.default import pretty
    from wherry.runtime.oci.told import told

    sys.stdout.write(pretty(told(_container(options))) + "\n")


def _kill(options: Options) -> None:
    _container(options).kill(_signal_number(options.signal), everything=options.all)


def _signal_number(text: str) -> int:
    if text.isdigit() and 0 <= int(text) <= signal.SIGRTMAX:
        return int(text)
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    found = getattr(signal, name, None)
    if not isinstance(found, int) or name.startswith("SIG_"):
        raise InvalidArgument(f"unknown signal {text!r}")
    return int(found)


def _delete(options: Options) -> None:
    container = _container(options)
    if options.force and not os.path.isdir(container.directory):
        return
    container.delete(force=options.force)
    _warn(options, container)


def _list(options: Options) -> None:
    from wherry.runtime.oci.told import containers, told

    if options.root != ROOT and not os.path.isdir(options.root):
        raise NotFound(f"the directory {options.root} does not exist")
    all_told = [told(container) for container in containers(options.root)]
    if options.quiet:
        sys.stdout.write("".join(f"{one.id}\n" for one in all_told))
    elif options.format == "json":
        sys.stdout.write(msgspec.json.encode(all_told).decode() + "\n")
    else:
        rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
        rows += [(o.id, str(o.pid), o.status, o.bundle, o.created, o.owner) for o in all_told]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            sys.stdout.write("  ".join([*cells, row[5]]) + "\n")


def _spec(options: Options) -> None:
    from wherry.runtime.oci.default import pretty, written_spec

    if options.for_others:
        raise NotSupported("spec --rootless is not supported: containers are made by root")
    path = os.path.join(options.bundle, "config.json")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(pretty(written_spec()) + "\n")
    except FileExistsError:
        raise InvalidArgument(f"{path} exists already; remove it first") from None


def _features(_: Options) -> None:
    from wherry.runtime.oci.default import features, pretty

    sys.stdout.write(pretty(features()) + "\n")


def _running(options: Options) -> None:
    """Commands that are seldom or never called around a start are imported with their first use."""
    from wherry.runtime.oci.running import COMMANDS

    COMMANDS[options.command](options)


_COMMANDS: dict[str, Callable[[Options], int | None]] = {
    "create": _create,
    "start": _start,
    "run": _run,
    "exec": _exec,
    "state": _state,
    "kill": _kill,
    "delete": _delete,
    "list": _list,
    "spec": _spec,
    "features": _features,
}
