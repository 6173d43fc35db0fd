"""From logical lines to typed instructions (Dockerfile reference)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import msgspec

from wherry.build.durations import parse_duration
from wherry.build.flags import Flags, split_flags
from wherry.build.instructions import (
    AnyInstruction,
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Pair,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.build.lines import Heredoc, Line, ParseError, raw_words, read_lines
from wherry.build.run_mounts import parse_mount
from wherry.errors import InvalidArgument, NotSupported
from wherry.model.image import HealthConfig

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_CHECKSUM = re.compile(r"sha256:[a-f0-9]{64}")


class Dockerfile(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed Dockerfile. ``escape`` is its escape character."""

    escape: str
    instructions: tuple[AnyInstruction, ...]
    warnings: tuple[str, ...] = ()
    directives: dict[str, str] = {}


class _Args(msgspec.Struct, frozen=True, kw_only=True):
    """What follows the keyword of one instruction, flags taken off."""

    line: int
    text: str
    keyword: str
    rest: str
    flags: Flags
    escape: str
    heredocs: tuple[Heredoc, ...]


def parse_dockerfile(source: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Parse a whole Dockerfile; ParseError names the line, InvalidArgument an empty file."""
    lines = read_lines(source)
    if not source.strip():
        raise InvalidArgument(f"the Dockerfile ({name}) cannot be empty")
    if not lines.lines:
        raise InvalidArgument(f"dockerfile parse error: file {name} with no instructions")
    return Dockerfile(
        escape=lines.escape,
        instructions=tuple(parse_instruction(line, lines.escape) for line in lines.lines),
        warnings=lines.warnings,
        directives=lines.directives,
    )


def parse_instruction(line: Line, escape: str) -> AnyInstruction:
    """Parse one logical line; ParseError."""
    keyword, _, rest = _partition_space(line.text)
    keyword = keyword.upper()
    parse = _PARSERS.get(keyword)
    if not parse:
        raise ParseError(line.number, f"unknown instruction: {keyword}")
    flags, rest = split_flags(rest, escape)
    args = _Args(
        line=line.number,
        text=" ".join([keyword, *flags, rest.strip()]),
        keyword=keyword,
        rest=rest.strip(),
        flags=Flags(keyword, flags),
        escape=escape,
        heredocs=line.heredocs,
    )
    try:
        instruction = parse(args)
        args.flags.finish()
    except ParseError:
        raise
    except NotSupported as error:
        raise NotSupported(f"dockerfile line {line.number}: {error}") from None
    except InvalidArgument as error:
        raise ParseError(line.number, str(error)) from None
    return instruction


def parse_trigger(text: str, escape: str = "\\", line: int = 0) -> AnyInstruction:
    """Parse what follows ONBUILD; ``line`` is where that stands, 0 if in a base image."""
    lines = read_lines(text.encode()).lines
    if len(lines) != 1:
        raise InvalidArgument(f"invalid ONBUILD trigger: {text!r} is not one instruction")
    return parse_instruction(msgspec.structs.replace(lines[0], number=line), escape)


def _partition_space(text: str) -> tuple[str, str, str]:
    match = re.match(r"(\S+)(\s*)(.*)", text, re.DOTALL)
    return (match[1], match[2], match[3]) if match else (text, "", "")


# --- forms of arguments ----------------------------------------------------------------------


def _json_strings(text: str) -> tuple[str, ...] | None:
    """The JSON form; None if it is not JSON at all, InvalidArgument for other than strings."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in value):
        raise InvalidArgument(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return tuple(value)


def _command(args: _Args) -> Command:
    items = _json_strings(args.rest)
    if items is not None:
        return Command(shell=False, args=items)
    return Command(shell=True, args=(args.rest,))


def _strings(args: _Args) -> tuple[str, ...]:
    items = _json_strings(args.rest)
    return tuple(args.rest.split()) if items is None else items


def _one(args: _Args) -> str:
    if not args.rest:
        raise InvalidArgument(f"{args.keyword} requires exactly one argument")
    return args.rest


def _pairs(args: _Args) -> tuple[Pair, ...]:
    words = raw_words(args.rest, args.escape)
    if not words:
        raise InvalidArgument(f"{args.keyword} requires at least one argument")
    if "=" not in words[0]:
        name, _, value = _partition_space(args.rest)
        if not value:
            raise InvalidArgument(f"{args.keyword} must have two arguments")
        return (Pair(name, value),)
    return tuple(_pair(args.keyword, word) for word in words)


def _pair(keyword: str, word: str) -> Pair:
    name, equals, value = word.partition("=")
    if not equals:
        raise InvalidArgument(
            f"Syntax error - can't find = in {json.dumps(word)}. Must be of the form: name=value"
        )
    if not name:
        raise InvalidArgument(f"{keyword} names can not be blank")
    return Pair(name, value)


# --- instructions ----------------------------------------------------------------------------


def _arg(args: _Args) -> Arg:
    words = raw_words(args.rest, args.escape)
    if not words:
        raise InvalidArgument("ARG requires at least one argument")
    items: list[tuple[str, str | None]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise InvalidArgument("ARG names can not be blank")
        items.append((name, value if equals else None))
    return Arg(line=args.line, text=args.text, items=tuple(items))


def _from(args: _Args) -> From:
    words = args.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise InvalidArgument("FROM requires either one or three arguments")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not _STAGE_NAME.fullmatch(name):
        raise InvalidArgument(
            f'invalid name for build stage: "{words[2]}", name can\'t start with a number'
            " or contain symbols"
        )
    platform = args.flags.take("platform")
    return From(line=args.line, text=args.text, image=words[0], name=name, platform=platform)


def _env(args: _Args) -> Env:
    return Env(line=args.line, text=args.text, pairs=_pairs(args))


def _label(args: _Args) -> Label:
    return Label(line=args.line, text=args.text, pairs=_pairs(args))


def _expose(args: _Args) -> Expose:
    ports = tuple(args.rest.split())
    if not ports:
        raise InvalidArgument("EXPOSE requires at least one argument")
    return Expose(line=args.line, text=args.text, ports=ports)


def _user(args: _Args) -> User:
    return User(line=args.line, text=args.text, user=_one(args))


def _workdir(args: _Args) -> Workdir:
    return Workdir(line=args.line, text=args.text, path=_one(args))


def _cmd(args: _Args) -> Cmd:
    return Cmd(line=args.line, text=args.text, command=_command(args))


def _entrypoint(args: _Args) -> Entrypoint:
    return Entrypoint(line=args.line, text=args.text, command=_command(args))


def _shell(args: _Args) -> Shell:
    items = _json_strings(args.rest)
    if items is None:
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")
    if not items:
        raise InvalidArgument("SHELL requires at least one argument")
    return Shell(line=args.line, text=args.text, args=items)


def _volume(args: _Args) -> Volume:
    paths = _strings(args)
    if not paths:
        raise InvalidArgument("VOLUME requires at least one argument")
    if not all(path.strip() for path in paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return Volume(line=args.line, text=args.text, paths=paths)


def _stop_signal(args: _Args) -> StopSignal:
    return StopSignal(line=args.line, text=args.text, signal=_one(args))


def _maintainer(args: _Args) -> Maintainer:
    return Maintainer(line=args.line, text=args.text, name=_one(args))


def _onbuild(args: _Args) -> Onbuild:
    keyword = _partition_space(_one(args))[0].upper()
    if keyword == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise InvalidArgument(f"{keyword} isn't allowed as an ONBUILD trigger")
    trigger = args.rest + "".join(f"\n{doc.content}{doc.name}" for doc in args.heredocs)
    parse_trigger(trigger, args.escape, args.line)
    return Onbuild(line=args.line, text=args.text, trigger=trigger)


def _healthcheck(args: _Args) -> Healthcheck:
    kind, _, rest = _partition_space(args.rest)
    timing = HealthConfig(
        interval=_duration(args, "interval"),
        timeout=_duration(args, "timeout"),
        start_period=_duration(args, "start-period"),
        start_interval=_duration(args, "start-interval"),
        retries=_retries(args),
    )
    if kind.upper() == "NONE":
        if rest or timing != HealthConfig():
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(line=args.line, text=args.text, command=None)
    if kind.upper() != "CMD":
        raise InvalidArgument(f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)')
    items = _json_strings(rest)
    if not (items or rest) or items == ():
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    command = Command(shell=items is None, args=(rest,) if items is None else items)
    return Healthcheck(line=args.line, text=args.text, command=command, timing=timing)


def _duration(args: _Args, name: str) -> int:
    text = args.flags.take(name)
    if not text:
        return 0
    nanoseconds = parse_duration(text)
    if nanoseconds and nanoseconds < 1_000_000:
        raise InvalidArgument(f"Interval {json.dumps(name)} cannot be less than 1ms")
    return nanoseconds


def _retries(args: _Args) -> int:
    text = args.flags.take("retries")
    if text and not (text.isascii() and text.isdigit()):
        raise InvalidArgument(f"--retries must be a number, not {text!r}")
    return int(text) if text else 0


def _run(args: _Args) -> Run:
    if not args.rest:
        raise InvalidArgument("RUN requires at least one argument")
    mounts = tuple(parse_mount(text) for text in args.flags.take_all("mount"))
    network = args.flags.take("network") or "default"
    if network not in ("default", "none", "host"):
        raise InvalidArgument(f'unsupported network mode "{network}"')
    security = args.flags.take("security") or "sandbox"
    if security == "insecure":
        raise NotSupported("RUN --security=insecure is not supported: steps have no privileges")
    if security != "sandbox":
        raise InvalidArgument(f'unsupported security mode "{security}"')
    return Run(
        line=args.line,
        text=args.text,
        command=_command(args),
        heredocs=args.heredocs,
        mounts=mounts,
        network="none" if network == "none" else "host" if network == "host" else "default",
    )


def _copy(args: _Args) -> Copy:
    paths = _strings(args)
    if len(paths) < 2:
        raise InvalidArgument(
            f"{args.keyword} requires at least two arguments, but only"
            f" {'one was' if paths else 'none were'} provided."
            " Destination could not be determined"
        )
    add = args.keyword == "ADD"
    flags = args.flags
    _take_link(flags)
    checksum = flags.take("checksum") if add else ""
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise InvalidArgument(f"--checksum must be sha256: and 64 hex digits, not {checksum!r}")
    if add and flags.take_bool("keep-git-dir") is not None:
        raise NotSupported("ADD --keep-git-dir is not supported: git repositories cannot be added")
    return Copy(
        line=args.line,
        text=args.text,
        add=add,
        sources=paths[:-1],
        destination=paths[-1],
        heredocs=args.heredocs,
        from_="" if add else flags.take("from"),
        chown=flags.take("chown"),
        chmod=flags.take("chmod"),
        parents=bool(flags.take_bool("parents")),
        exclude=flags.take_all("exclude"),
        checksum=checksum,
        unpack=flags.take_bool("unpack") if add else None,
    )


def _take_link(flags: Flags) -> None:
    """``--link`` makes a layer that does not depend on those below: a matter of cache only."""
    flags.take_bool("link")


_PARSERS: dict[str, Callable[[_Args], AnyInstruction]] = {
    "ADD": _copy,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}


def keywords() -> Sequence[str]:
    """All instructions that are known."""
    return tuple(_PARSERS)
