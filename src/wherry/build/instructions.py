"""The instructions of a Dockerfile as frozen values.

Texts are as written: variables are expanded when a step is run (``wherry.build.evaluate``).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from wherry.build.lines import Heredoc
from wherry.model.image import HealthConfig


class Instruction(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """``text`` is the instruction in one line, ``line`` where it starts."""

    line: int
    text: str


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """``shell``: one text for the shell. Otherwise the arguments themselves (JSON form)."""

    shell: bool
    args: tuple[str, ...]


class Pair(msgspec.Struct, frozen=True):
    name: str
    value: str


class Arg(Instruction, frozen=True, kw_only=True):
    """``items``: names with their default, None if there is none."""

    items: tuple[tuple[str, str | None], ...]


class From(Instruction, frozen=True, kw_only=True):
    image: str
    name: str = ""  # lower case
    platform: str = ""


class Env(Instruction, frozen=True, kw_only=True):
    pairs: tuple[Pair, ...]


class Label(Instruction, frozen=True, kw_only=True):
    pairs: tuple[Pair, ...]


class Expose(Instruction, frozen=True, kw_only=True):
    ports: tuple[str, ...]


class User(Instruction, frozen=True, kw_only=True):
    user: str


class Workdir(Instruction, frozen=True, kw_only=True):
    path: str


class Cmd(Instruction, frozen=True, kw_only=True):
    command: Command


class Entrypoint(Instruction, frozen=True, kw_only=True):
    command: Command


class Shell(Instruction, frozen=True, kw_only=True):
    args: tuple[str, ...]


class Volume(Instruction, frozen=True, kw_only=True):
    paths: tuple[str, ...]


class StopSignal(Instruction, frozen=True, kw_only=True):
    signal: str


class Healthcheck(Instruction, frozen=True, kw_only=True):
    """``command`` None is ``HEALTHCHECK NONE``; ``timing`` has the durations and retries."""

    command: Command | None
    timing: HealthConfig = HealthConfig()


class Maintainer(Instruction, frozen=True, kw_only=True):
    name: str


class Onbuild(Instruction, frozen=True, kw_only=True):
    trigger: str


class RunMount(msgspec.Struct, frozen=True, kw_only=True):
    """One ``--mount`` of RUN, variables not expanded. ``mode`` None is the type's default."""

    type: Literal["bind", "cache", "tmpfs", "secret"] = "bind"
    target: str = ""
    source: str = ""
    from_: str = ""
    id: str = ""
    read_write: bool = False
    sharing: Literal["shared", "private", "locked"] = "shared"
    required: bool = False
    size: int = 0
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    env: str = ""


class Run(Instruction, frozen=True, kw_only=True):
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    network: Literal["default", "none", "host"] = "default"


class Copy(Instruction, frozen=True, kw_only=True):
    """COPY and ADD. ``from_`` names a stage or an image; only ADD has ``checksum``."""

    add: bool
    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    unpack: bool | None = None  # None: ADD unpacks local archives

    @property
    def keyword(self) -> str:
        return "ADD" if self.add else "COPY"


AnyInstruction = (
    Arg
    | From
    | Env
    | Label
    | Expose
    | User
    | Workdir
    | Cmd
    | Entrypoint
    | Shell
    | Volume
    | StopSignal
    | Healthcheck
    | Maintainer
    | Onbuild
    | Run
    | Copy
)
