"""The process of an exec, derived from the process of its container."""

from __future__ import annotations

import os
from functools import lru_cache

import msgspec

from wherry.engine.records import Container, ExecOptions
from wherry.engine.spec.facts import host_facts
from wherry.engine.spec.merge import replace_env
from wherry.engine.spec.users import ResolvedUser, resolve_user
from wherry.errors import Conflict
from wherry.model.decoding import decoded
from wherry.model.runtime_spec import Box, Capabilities, Process, User

_TERM = "TERM=xterm"
_CONTAINERS = 64  # that are remembered; each takes a few kB


class _Bundle(msgspec.Struct, frozen=True):
    """The part of ``config.json`` that matters here; the rest is skipped while decoding."""

    process: Process


def exec_process(
    record: Container,
    options: ExecOptions,
    runtime_dir: str,
    console_size: tuple[int, int] | None,
) -> Process:
    """What the runtime is asked to execute: the container's process with the exec's own command,
    environment, directory and user. InvalidArgument for an unknown user."""
    base = _container_process(runtime_dir, record.id, record.state.started_ns)
    user = _user(record, options, base)
    env = replace_env(base.env, (*((_TERM,) if options.tty else ()), *options.env))
    if options.user and not any(entry.startswith("HOME=") for entry in options.env):
        env = replace_env(env, (f"HOME={user.home}",))
    rows, columns = console_size or (0, 0)
    return msgspec.structs.replace(
        base,
        args=options.cmd,
        env=env,
        cwd=options.working_dir or record.config.working_dir or "/",
        terminal=options.tty,
        console_size=Box(height=rows, width=columns) if options.tty and rows else None,
        user=User(
            uid=user.uid, gid=user.gid, additional_gids=user.additional_gids, umask=base.user.umask
        ),
        capabilities=_capabilities(base, options, user.uid),
    )


@lru_cache(_CONTAINERS)
def _container_process(runtime_dir: str, container_id: str, started_ns: int) -> Process:
    """What a container began with; it stays the same as long as it runs."""
    try:
        with open(os.path.join(runtime_dir, "bundle", "config.json"), "rb") as file:
            return decoded(file.read(), _Bundle).process
    except FileNotFoundError:
        raise Conflict(f"container {container_id} is not running") from None


def _user(record: Container, options: ExecOptions, base: Process) -> ResolvedUser:
    """The container's own user unless another one is asked for."""
    if not options.user:
        own = base.user
        return ResolvedUser(uid=own.uid, gid=own.gid, additional_gids=own.additional_gids)
    try:
        root = os.open(f"/proc/{record.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Conflict(f"container {record.id} is not running") from None
    try:
        return resolve_user(root, options.user, record.host.group_add or ())
    finally:
        os.close(root)


def _capabilities(base: Process, options: ExecOptions, uid: int) -> Capabilities | None:
    """A privileged exec has all capabilities; a user other than root has none in effect."""
    if base.capabilities is None:
        return None
    bounding = host_facts().capabilities if options.privileged else base.capabilities.bounding
    held = bounding if uid == 0 else ()
    return Capabilities(bounding=bounding, effective=held, permitted=held)
