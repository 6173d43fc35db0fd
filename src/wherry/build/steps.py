"""What each instruction does to an image: its effect, made but not yet applied."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import msgspec

from wherry.build.api import CopyFailed, StepFailed
from wherry.build.config import changed, created_by
from wherry.build.copying import CopyPlan, content_digest, place
from wherry.build.download import fetch, require_http
from wherry.build.instructions import AnyInstruction, Copy, Run, RunMount, Workdir
from wherry.build.job import Effect, Job, Tools
from wherry.build.lines import ParseError
from wherry.build.mounts import MountSources, open_source
from wherry.build.origins import Origins
from wherry.build.patterns import Patterns
from wherry.build.roots import closing, make_directories
from wherry.build.running import RunExecutor, check_network, recorded_command
from wherry.build.sources import Source, Sources
from wherry.build.state import State
from wherry.build.trees import Rules, hash_source
from wherry.errors import DataCorrupt, InvalidArgument, PermissionDenied


class StepEffects:
    """Prepares the steps of one build."""

    def __init__(self, tools: Tools, job: Job, origins: Origins) -> None:
        self._tools = tools
        self._job = job
        self._origins = origins
        self._executor = RunExecutor(
            tools.runner, job.request, job.build_args, job.progress, job.cancel
        )

    def effect(self, state: State, instruction: AnyInstruction, stack: ExitStack) -> Effect:
        """The effect of an expanded instruction; ``stack`` holds what it needs until it is done."""
        match instruction:
            case Run():
                return self._run(state, instruction)
            case Copy():
                return self._copy(state, instruction, stack)
            case Workdir():
                return self._workdir(state, instruction)
        return self.configured(state, instruction)

    def configured(self, state: State, instruction: AnyInstruction) -> Effect:
        """A change of the configuration; ParseError."""
        try:
            config = changed(state.config, instruction, cmd_set=state.cmd_set)
            shown = created_by(instruction, config)
        except InvalidArgument as error:
            raise ParseError(instruction.line, str(error)) from None
        return Effect(key=shown, created_by=shown, config=config)

    def _workdir(self, state: State, instruction: Workdir) -> Effect:
        effect = self.configured(state, instruction)

        def make(snapshot: str) -> tuple[str, ...]:
            with _failing("WORKDIR"), closing(self._tools.snapshots.open_root(snapshot)) as root:
                os.close(make_directories(root, effect.config.working_dir))
            return ()

        return msgspec.structs.replace(effect, make=make)

    # --- COPY and ADD ------------------------------------------------------------------------

    def _copy(self, state: State, copy: Copy, stack: ExitStack) -> Effect:
        plan = CopyPlan(
            copy=copy,
            working_dir=state.config.working_dir,
            epoch_ns=state.epoch_ns,
            keep_owner=bool(copy.from_),
        )

        @cache
        def sources() -> Sources:
            return self._sources(copy, stack)

        def content() -> str:
            with _failing(copy.keyword):
                return content_digest(plan, sources(), self._job.check)

        def make(snapshot: str) -> tuple[str, ...]:
            with (
                _failing(copy.keyword),
                closing(self._tools.snapshots.open_root(snapshot)) as root,
            ):
                place(plan, sources(), root, self._job.check)
            return ()

        return Effect(
            key=_copy_key(copy, plan.destination),
            created_by=_copy_words(copy),
            config=state.config,
            inputs=(str(self._origins.chain_id(copy.from_)),) if copy.from_ else (content(),),
            content=content if copy.from_ else None,
            make=make,
        )

    def _sources(self, copy: Copy, stack: ExitStack) -> Sources:
        root = self._job.context.root
        if copy.from_:
            root = stack.enter_context(closing(self._origins.open(copy.from_)))
        sources = stack.enter_context(Sources())

        def download(url: str) -> Source:
            return self._download(url, copy)

        sources.collect(copy, root, download, in_context=not copy.from_)
        return sources

    def _download(self, url: str, copy: Copy) -> Source:
        require_http(url)
        if not self._job.request.allow_fetch:
            raise PermissionDenied(f"ADD {url} is refused: this build may not fetch from URLs")
        proxies = self._job.build_args.run_proxies()
        loaded = fetch(url, self._job.context.scratch, proxies, self._job.check)
        if copy.checksum and copy.checksum != f"sha256:{loaded.sha256}":
            os.close(loaded.fd)
            raise CopyFailed(
                f"digest mismatch sha256:{loaded.sha256}: {copy.checksum} was asked of {url}"
            )
        return Source(fd=loaded.fd, path=url, name=loaded.name, local=False)

    # --- RUN ---------------------------------------------------------------------------------

    def _run(self, state: State, run: Run) -> Effect:
        check_network(run, self._job.request)
        shown = recorded_command(run, state)
        inputs = tuple(self._mount_input(mount) for mount in run.mounts if mount.type == "bind")
        sources = MountSources(
            context=self._job.context.root,
            scratch=self._job.context.scratch,
            caches=self._tools.caches,
            cache_scope=self._job.request.cache_scope,
            secrets=self._job.request.secrets,
            open_root=self._origins.open,
        )

        def make(snapshot: str) -> tuple[str, ...]:
            with _failing("RUN"):
                return self._executor.run(run, state, snapshot, sources, self._job.check)

        flags = msgspec.json.encode((run.mounts, run.network)).decode()
        return Effect(
            key=f"{shown}\n{flags}",
            created_by=shown,
            config=state.config,
            inputs=inputs,
            make=make,
        )

    def _mount_input(self, mount: RunMount) -> str:
        """The digest of what a bind mount shows."""
        if mount.from_:
            return str(self._origins.chain_id(mount.from_))
        digest = hashlib.sha256()
        rules = Rules(owner=(0, 0), mode=None, exclude=Patterns(()), mtime_ns=0)
        with _failing("RUN"), closing(open_source(self._job.context.root, mount.source)) as fd:
            hash_source(digest, fd, "", rules, self._job.check)
        return digest.hexdigest()


@contextmanager
def _failing(keyword: str) -> Iterator[None]:
    """Say which instruction it was that could not be done."""
    try:
        yield
    except StepFailed:
        raise
    except (InvalidArgument, DataCorrupt) as error:
        raise CopyFailed(f"{keyword} failed: {error}") from error


def _copy_words(copy: Copy) -> str:
    """The history's words, as BuildKit's: without ``--from``."""
    flags = [
        f"--{name}={value} "
        for name, value in (("chown", copy.chown), ("chmod", copy.chmod))
        if value
    ]
    words = " ".join((*copy.sources, copy.destination))
    return f"{copy.keyword} {''.join(flags)}{words} # buildkit"


def _copy_key(copy: Copy, destination: str) -> str:
    """All that decides what a COPY does but for the content: it may stand on another line."""
    return repr(
        (
            copy.keyword,
            copy.sources,
            destination,
            copy.destination,
            copy.chown,
            copy.chmod,
            copy.parents,
            copy.exclude,
            copy.unpack,
        )
    )
