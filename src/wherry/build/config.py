"""What an instruction changes in the image configuration. Pure."""

from __future__ import annotations

import json
import posixpath
import re
import signal

from msgspec.structs import replace

from wherry.build.instructions import (
    AnyInstruction,
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Pair,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.errors import InvalidArgument
from wherry.model.image import ExecConfig, HealthConfig

DEFAULT_SHELL = ("/bin/sh", "-c")
_PORT = re.compile(r"([0-9]+)(?:-([0-9]+))?(?:/([a-zA-Z]+))?", re.ASCII)
_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})


def changed(config: ExecConfig, instruction: AnyInstruction, *, cmd_set: bool) -> ExecConfig:
    """The configuration after an expanded instruction.

    ``cmd_set``: this stage has a CMD of its own, which a following ENTRYPOINT leaves alone.
    Instructions that change files only, or nothing, return the same. InvalidArgument.
    """
    match instruction:
        case Env(pairs=pairs):
            return replace(config, env=set_env(config.env or (), pairs))
        case Label(pairs=pairs):
            labels = dict(config.labels or {})
            labels.update((pair.name, pair.value) for pair in pairs)
            return replace(config, labels=labels)
        case Expose(ports=ports):
            exposed = dict(config.exposed_ports or {})
            exposed.update((port, {}) for text in ports for port in parse_ports(text))
            return replace(config, exposed_ports=dict(sorted(exposed.items())))
        case User(user=user):
            return replace(config, user=user)
        case Workdir(path=path):
            return replace(config, working_dir=joined(config.working_dir, path))
        case Volume(paths=paths):
            volumes = dict(config.volumes or {})
            volumes.update((path, {}) for path in paths)
            return replace(config, volumes=dict(sorted(volumes.items())))
    return _process_changed(config, instruction, cmd_set=cmd_set)


def _process_changed(
    config: ExecConfig, instruction: AnyInstruction, *, cmd_set: bool
) -> ExecConfig:
    match instruction:
        case Cmd(command=command):
            return replace(config, cmd=command_args(config, command))
        case Entrypoint(command=command):
            entrypoint = command_args(config, command)
            return replace(config, entrypoint=entrypoint, cmd=config.cmd if cmd_set else None)
        case Shell(args=args):
            return replace(config, shell=args)
        case StopSignal(signal=name):
            return replace(config, stop_signal=_checked_signal(name))
        case Healthcheck():
            return replace(config, healthcheck=_health(instruction))
        case Onbuild(trigger=trigger):
            return replace(config, on_build=(*(config.on_build or ()), trigger))
    return config


def created_by(instruction: AnyInstruction, config: ExecConfig) -> str:
    """The history's words for an instruction that changes the configuration, as BuildKit's.

    ``config`` is the configuration after it.
    """
    match instruction:
        case Env(pairs=pairs):
            return "ENV " + _shown(pairs)
        case Label(pairs=pairs):
            return "LABEL " + _shown(pairs)
        case Expose(ports=ports):
            shown = [port for text in ports for port in parse_ports(text)]
            return f"EXPOSE [{' '.join(shown)}]"
        case User(user=user):
            return f"USER {user}"
        case Workdir():
            return f"WORKDIR {config.working_dir}"
        case Volume(paths=paths):
            return f"VOLUME [{' '.join(paths)}]"
        case Cmd():
            return f"CMD {_quoted(config.cmd or ())}"
        case Entrypoint():
            return f"ENTRYPOINT {_quoted(config.entrypoint or ())}"
        case Shell(args=args):
            return f"SHELL [{' '.join(args)}]"
        case StopSignal(signal=name):
            return f"STOPSIGNAL {name}"
        case Maintainer(name=name):
            return f"MAINTAINER {name}"
        case Onbuild(trigger=trigger):
            return f"ONBUILD {trigger}"
    return instruction.text


def command_args(config: ExecConfig, command: Command) -> tuple[str, ...]:
    """The program and its arguments: the shell and the text in shell form."""
    return (*(config.shell or DEFAULT_SHELL), *command.args) if command.shell else command.args


def set_env(env: tuple[str, ...], pairs: tuple[Pair, ...]) -> tuple[str, ...]:
    """``NAME=value`` items; one that is there already keeps its place."""
    names = [item.partition("=")[0] for item in env]
    result = list(env)
    for pair in pairs:
        if not pair.name:
            raise InvalidArgument("ENV names can not be blank")
        if pair.name in names:
            result[names.index(pair.name)] = f"{pair.name}={pair.value}"
        else:
            names.append(pair.name)
            result.append(f"{pair.name}={pair.value}")
    return tuple(result)


def joined(directory: str, path: str) -> str:
    """``path`` relative to ``directory`` (both inside the image), absolute and without dots."""
    if not path:
        raise InvalidArgument("cannot normalize nothing")
    whole = posixpath.normpath(posixpath.join("/", directory, path))
    return "/" + whole.lstrip("/")


def parse_ports(text: str) -> list[str]:
    """``8000-8001/udp`` as ``["8000/udp", "8001/udp"]``; InvalidArgument."""
    match = _PORT.fullmatch(text)
    if not match:
        raise InvalidArgument(f"invalid containerPort: {text}")
    first, last = int(match[1]), int(match[2] or match[1])
    protocol = (match[3] or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"invalid proto: {protocol}")
    if not 0 < first <= last <= 65535:
        raise InvalidArgument(f"invalid containerPort: {text}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _checked_signal(name: str) -> str:
    """InvalidArgument unless it is a signal's number or name (signal(7))."""
    bare = name.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        known = 0 < int(name) <= signal.NSIG
    else:
        known = "SIG" + bare in signal.Signals.__members__ or bool(
            re.fullmatch(r"RTM(IN\+|AX-)[0-9]{1,2}", bare)
        )
    if not known:
        raise InvalidArgument(f"invalid signal: {name}")
    return name


def _health(instruction: Healthcheck) -> HealthConfig:
    command = instruction.command
    if command is None:
        return HealthConfig(test=("NONE",))
    kind = "CMD-SHELL" if command.shell else "CMD"
    return replace(instruction.timing, test=(kind, *command.args))


def _shown(pairs: tuple[Pair, ...]) -> str:
    return " ".join(f"{pair.name}={pair.value}" for pair in pairs)


def _quoted(args: tuple[str, ...]) -> str:
    return f"[{' '.join(json.dumps(arg, ensure_ascii=False) for arg in args)}]"
