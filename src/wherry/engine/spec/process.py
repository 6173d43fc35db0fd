"""The process of a container, and those that are run in it later."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.engine.spec.capabilities import process_capabilities
from wherry.engine.spec.inputs import SpecInputs
from wherry.engine.spec.merge import name_of, replace_env
from wherry.engine.spec.security import SecurityOptions, apparmor_profile
from wherry.engine.spec.users import ResolvedUser
from wherry.errors import InvalidArgument
from wherry.model.container import Ulimit
from wherry.model.runtime_spec import Box, Process, Rlimit, User

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_UNLIMITED = 2**64 - 1
_ULIMIT_NAMES = """
    core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""
ULIMITS = frozenset(_ULIMIT_NAMES.split())


def container_process(
    inputs: SpecInputs, options: SecurityOptions, bounding: tuple[str, ...]
) -> Process:
    """The process that a container starts with."""
    config, host = inputs.config, inputs.host
    size = host.console_size if config.tty else None
    return Process(
        args=(*(config.entrypoint or ()), *(config.cmd or ())),
        cwd=config.working_dir or "/",
        env=environment(
            config.env or (),
            extra=inputs.extra_env,
            hostname=inputs.hostname,
            home=inputs.user.home,
            tty=config.tty,
        ),
        terminal=config.tty,
        console_size=Box(height=size[0], width=size[1]) if size and any(size) else None,
        user=spec_user(inputs.user),
        capabilities=process_capabilities(bounding, inputs.user.uid),
        rlimits=rlimits(host.ulimits or ()),
        no_new_privileges=options.no_new_privileges,
        apparmor_profile=apparmor_profile(
            options, host, inputs.facts, has_default=inputs.has_default_apparmor
        ),
        selinux_label=inputs.labels.process,
        oom_score_adj=host.oom_score_adj,
    )


def environment(
    asked: Iterable[str],
    *,
    extra: Iterable[str] = (),
    hostname: str = "",
    home: str = "/",
    tty: bool = False,
) -> tuple[str, ...]:
    """Docker's own variables, the engine's (``extra``), then what was asked for.

    A terminal brings TERM; HOME is the user's unless it was given.
    """
    base = [f"PATH={DEFAULT_PATH}"]
    if hostname:
        base.append(f"HOSTNAME={hostname}")
    if tty:
        base.append("TERM=xterm")
    env = replace_env(replace_env(base, extra), asked)
    if any(name_of(entry) == "HOME" for entry in env):
        return env
    return (*env, f"HOME={home}")


def spec_user(user: ResolvedUser) -> User:
    return User(uid=user.uid, gid=user.gid, additional_gids=user.additional_gids)


def rlimits(ulimits: Iterable[Ulimit]) -> tuple[Rlimit, ...]:
    """Limits by Docker's names, -1 being unlimited; InvalidArgument."""
    return tuple(_rlimit(ulimit) for ulimit in ulimits)


def _rlimit(ulimit: Ulimit) -> Rlimit:
    if ulimit.name not in ULIMITS:
        raise InvalidArgument(f"invalid ulimit type: {ulimit.name}")
    soft, hard = (_UNLIMITED if value == -1 else value for value in (ulimit.soft, ulimit.hard))
    if soft > hard:
        raise InvalidArgument(
            f"ulimit soft limit must be less than or equal to hard limit: "
            f"{ulimit.soft} > {ulimit.hard}"
        )
    if soft < 0:
        raise InvalidArgument(f"invalid ulimit {ulimit.name}: {ulimit.soft}:{ulimit.hard}")
    return Rlimit(type=f"RLIMIT_{ulimit.name.upper()}", soft=soft, hard=hard)
