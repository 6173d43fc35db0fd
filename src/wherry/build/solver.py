"""One build from its plan to its image: stage by stage, step by step."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress

from msgspec.structs import replace

from wherry.build.api import StepCached, StepDone, StepStarted, TriggersStarted
from wherry.build.cache import step_key
from wherry.build.evaluate import expanded
from wherry.build.instructions import AnyInstruction, Arg, Cmd, Label, Maintainer, Pair
from wherry.build.job import Effect, Job, Tools
from wherry.build.origins import Origins
from wherry.build.parser import parse_trigger
from wherry.build.roots import DIRECTORY, closing
from wherry.build.scope import PROXY_ARGS, declare, stage_variables
from wherry.build.stages import SCRATCH, Stage
from wherry.build.state import State, from_image, from_scratch, from_stage
from wherry.build.steps import StepEffects
from wherry.errors import NotFound, ResourceExhausted
from wherry.fs.remove import empty_directory
from wherry.store.api import LayerRecord

SNAPSHOT_PREFIX = "build-"
"""Begins the keys of the active snapshots of builds."""


class Solver:
    """Builds the stages of one plan. Used once, by one thread."""

    def __init__(self, tools: Tools, job: Job) -> None:
        self._tools = tools
        self._job = job
        self._states: dict[int, State] = {}
        self._origins = Origins(tools, job, self._states)
        self._steps = StepEffects(tools, job, self._origins)
        self._number = 0
        self.declared: set[str] = set()

    def solve(self) -> State:
        """The state of the target stage, labels included."""
        plan = self._job.plan
        for arg in plan.arguments:
            self._start(arg.text)
            self.declared.update(name for name, _ in arg.items)
        for stage in plan.order:
            self._states[stage.index] = self._stage(stage)
        return self._labelled(self._states[plan.target.index])

    @property
    def total(self) -> int:
        return self._job.plan.steps + bool(self._job.request.labels)

    def _start(self, text: str) -> None:
        self._job.check()
        self._number += 1
        self._job.progress(StepStarted(self._number, self.total, text))

    # --- stages ------------------------------------------------------------------------------

    def _stage(self, stage: Stage) -> State:
        self._start(stage.start.text)
        state = self._base(stage)
        for instruction in stage.instructions:
            self._start(instruction.text)
            state = self._step(state, instruction)
        return state

    def _base(self, stage: Stage) -> State:
        if stage.base is not None:
            return self._triggered(from_stage(self._states[stage.base]))
        if stage.image == SCRATCH:
            return from_scratch(self._job.platform, self._job.epoch)
        image = self._origins.resolve(stage.image, stage.platform)
        self._job.progress(StepDone(image.id))
        return self._triggered(from_image(image, self._job.epoch))

    def _triggered(self, state: State) -> State:
        """Do what the base has noted by ONBUILD; children inherit none of it."""
        triggers = state.config.on_build or ()
        if not triggers:
            return state
        config = replace(state.config, on_build=None)
        state = replace(state, image=replace(state.image, config=config), base=None)
        self._job.progress(TriggersStarted(len(triggers)))
        for text in triggers:
            self._job.check()
            state = self._step(state, parse_trigger(text))
        return state

    def _labelled(self, state: State) -> State:
        labels = self._job.request.labels
        if not labels:
            return state
        label = label_instruction(labels)
        self._start(label.text)
        return self._apply(state, self._steps.configured(state, label))

    # --- steps -------------------------------------------------------------------------------

    def _step(self, state: State, instruction: AnyInstruction) -> State:
        variables = stage_variables(state.args, state.config)
        ready = expanded(instruction, variables, self._job.escape)
        if isinstance(ready, Arg):
            return self._declare(state, ready)
        if isinstance(ready, Maintainer):
            state = replace(state, image=replace(state.image, author=ready.name))
        with ExitStack() as stack:
            state = self._apply(state, self._steps.effect(state, ready, stack))
        return replace(state, cmd_set=True) if isinstance(ready, Cmd) else state

    def _declare(self, state: State, arg: Arg) -> State:
        build, outer = self._job.build_args, self._job.plan.outer
        args = declare(state.args, arg.items, build, outer)
        self.declared.update(name for name, _ in arg.items)
        shown = " ".join(_shown_arg(name, args[name]) for name, _ in arg.items)
        effect = Effect(key=f"ARG {shown}", created_by=f"ARG {shown}", config=state.config)
        return replace(self._apply(state, effect), args=args)

    def _apply(self, state: State, effect: Effect) -> State:
        layer = self._cached_or_made(state, effect)
        state = state.after(effect.created_by, effect.config, layer)
        self._job.progress(StepDone(state.id))
        return state

    def _cached_or_made(self, state: State, effect: Effect) -> LayerRecord | None:
        cache, looks = self._tools.cache, not self._job.request.no_cache
        keys = [step_key(state.id, effect.key, effect.inputs)]
        hit = cache.find(keys[0]) if looks else None
        if not hit and effect.content:
            keys.append(step_key(state.id, effect.key, ("content", effect.content())))
            hit = cache.find(keys[1]) if looks else None
        if hit:
            self._job.progress(StepCached())
            layer = hit.layer
        else:
            layer = self._make(state, effect.make) if effect.make else None
        for key in keys if not hit else keys[:-1]:
            cache.store(key, layer)
        return layer

    def _make(self, state: State, make: Callable[[str], tuple[str, ...]]) -> LayerRecord | None:
        """Change files in a fresh snapshot and make a layer of them; nothing stays on failure."""
        key = SNAPSHOT_PREFIX + secrets.token_hex(8)
        snapshots = self._tools.snapshots
        snapshots.prepare(key, state.chain_id)
        try:
            exclude = make(key)
            return self._tools.images.commit_layer(key, exclude=exclude, max_mtime=state.epoch)
        except BaseException:
            self._discard(key)
            raise

    def _discard(self, key: str) -> None:
        """Remove an active snapshot, also from a full disk, where even that needs a little room."""
        snapshots = self._tools.snapshots
        with suppress(NotFound):
            try:
                snapshots.remove(key)
            except ResourceExhausted:
                with closing(os.open(snapshots.changes_dir(key), DIRECTORY)) as changes:
                    empty_directory(changes)
                snapshots.remove(key)


def label_instruction(labels: dict[str, str]) -> Label:
    """``--label`` as an instruction; nothing in it is expanded."""
    pairs = tuple(Pair(name, labels[name]) for name in sorted(labels))
    text = "LABEL " + " ".join(f"{pair.name}={pair.value}" for pair in pairs)
    return Label(line=0, text=text, pairs=pairs)


def _shown_arg(name: str, value: str | None) -> str:
    return name if value is None or name in PROXY_ARGS else f"{name}={value}"
