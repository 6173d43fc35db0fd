"""The stages of a Dockerfile, and which of them a build needs in which order. Pure."""

from __future__ import annotations

import msgspec

from wherry.build.evaluate import expand_text, expanded
from wherry.build.instructions import AnyInstruction, Arg, Copy, From, Run
from wherry.build.lines import ParseError
from wherry.build.parser import Dockerfile
from wherry.build.scope import Args, BuildArgs, declare, global_variables
from wherry.errors import InvalidArgument

SCRATCH = "scratch"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One FROM and what follows. ``image`` and ``platform`` are expanded.

    ``base`` is the index of the stage it starts from, None if that is an image or ``scratch``.
    """

    index: int
    start: From
    image: str
    platform: str
    base: int | None
    instructions: tuple[AnyInstruction, ...]

    @property
    def name(self) -> str:
        return self.start.name


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built. ``order`` has the needed stages, each after those it needs."""

    arguments: tuple[Arg, ...]  # before the first FROM
    outer: Args
    stages: tuple[Stage, ...]
    target: Stage
    order: tuple[Stage, ...]

    @property
    def steps(self) -> int:
        """How many steps the client is told of."""
        return len(self.arguments) + sum(1 + len(stage.instructions) for stage in self.order)

    def stage(self, name: str) -> Stage | None:
        """The stage with this name or number, if there is one."""
        return find_stage(self.stages, name)


def plan_build(dockerfile: Dockerfile, build: BuildArgs, target: str) -> Plan:
    """Group the instructions and choose the stages; ParseError, InvalidArgument."""
    arguments, groups = _grouped(dockerfile.instructions)
    outer: Args = {}
    for arg in arguments:
        variables = global_variables(outer, build)
        item = expanded(arg, variables, dockerfile.escape)
        assert isinstance(item, Arg)
        outer = declare(outer, item.items, build, {})
    variables = global_variables(outer, build)
    stages: list[Stage] = []
    for start, instructions in groups:
        stages.append(_stage(stages, start, instructions, variables, dockerfile.escape))
    chosen = _target(stages, target)
    return Plan(
        arguments=arguments,
        outer=outer,
        stages=tuple(stages),
        target=chosen,
        order=_ordered(tuple(stages), chosen),
    )


def find_stage(stages: tuple[Stage, ...] | list[Stage], name: str) -> Stage | None:
    lower = name.lower()
    for stage in reversed(stages):
        if stage.name and stage.name == lower:
            return stage
    if name.isascii() and name.isdigit() and int(name) < len(stages):
        return stages[int(name)]
    return None


def _grouped(
    instructions: tuple[AnyInstruction, ...],
) -> tuple[tuple[Arg, ...], list[tuple[From, tuple[AnyInstruction, ...]]]]:
    arguments: list[Arg] = []
    groups: list[tuple[From, list[AnyInstruction]]] = []
    for instruction in instructions:
        if isinstance(instruction, From):
            groups.append((instruction, []))
        elif groups:
            groups[-1][1].append(instruction)
        elif isinstance(instruction, Arg):
            arguments.append(instruction)
        else:
            raise ParseError(instruction.line, "no build stage in current context")
    if not groups:
        raise ParseError(instructions[-1].line, "no build stage in current context")
    return tuple(arguments), [(start, tuple(items)) for start, items in groups]


def _stage(
    earlier: list[Stage],
    start: From,
    instructions: tuple[AnyInstruction, ...],
    variables: dict[str, str],
    escape: str,
) -> Stage:
    image = expand_text(start.image, start.line, variables, escape)
    if not image:
        raise ParseError(start.line, f"base name ({start.image}) should not be blank")
    if start.name and any(stage.name == start.name for stage in earlier):
        raise ParseError(start.line, f"duplicate name {start.name}")
    named = [stage for stage in earlier if stage.name == image.lower()]
    return Stage(
        index=len(earlier),
        start=start,
        image=image,
        platform=expand_text(start.platform, start.line, variables, escape),
        base=named[0].index if named else None,
        instructions=instructions,
    )


def _target(stages: list[Stage], target: str) -> Stage:
    if not target:
        return stages[-1]
    stage = find_stage(stages, target)
    if not stage:
        raise InvalidArgument(f"target stage {target!r} could not be found")
    return stage


def _ordered(stages: tuple[Stage, ...], target: Stage) -> tuple[Stage, ...]:
    """The target and what it needs, depth first, each once; ParseError for a circle."""
    order: list[Stage] = []
    open_stages: list[int] = []

    def visit(stage: Stage, line: int) -> None:
        if stage.index in open_stages:
            shown = stage.name or str(stage.index)
            raise ParseError(line, f"circular dependency detected on stage: {shown}")
        if stage in order:
            return
        open_stages.append(stage.index)
        for needed, place in _needs(stages, stage):
            visit(needed, place)
        open_stages.pop()
        order.append(stage)

    visit(target, target.start.line)
    return tuple(order)


def _needs(stages: tuple[Stage, ...], stage: Stage) -> list[tuple[Stage, int]]:
    needs = [] if stage.base is None else [(stages[stage.base], stage.start.line)]
    for instruction in stage.instructions:
        for name in _sources(instruction):
            found = find_stage(stages, name)
            if found:
                needs.append((found, instruction.line))
            elif name.isascii() and name.isdigit():
                raise ParseError(instruction.line, f"invalid from flag value {name}: no such stage")
    return needs


def _sources(instruction: AnyInstruction) -> list[str]:
    match instruction:
        case Copy(from_=name) if name:
            return [name]
        case Run(mounts=mounts):
            return [mount.from_ for mount in mounts if mount.from_]
    return []
