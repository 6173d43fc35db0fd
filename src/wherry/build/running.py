"""RUN: one container on a writable snapshot, and the layer that it leaves."""

from __future__ import annotations

import secrets
from contextlib import ExitStack

from msgspec.structs import replace

from wherry.build.api import (
    BuildCancelled,
    BuildRequest,
    Cancel,
    Event,
    Progress,
    RunStep,
    StepFailed,
    StepOutput,
    StepRemoved,
    StepRunner,
    StepRunning,
)
from wherry.build.config import command_args
from wherry.build.instructions import Run
from wherry.build.lines import parse_heredoc
from wherry.build.mounts import SCRIPT_DIRECTORY, MountSources, prepare, script_mount
from wherry.build.scope import (
    EPOCH_ARG,
    PROXY_ARGS,
    BuildArgs,
    env_dict,
    run_arguments,
)
from wherry.build.state import State
from wherry.build.trees import Check
from wherry.errors import PermissionDenied
from wherry.model.container import ContainerConfig, HostConfig, MountRequest

HOSTNAME = "wherry-build"


def check_network(run: Run, request: BuildRequest) -> None:
    """A Dockerfile may give up the network, but not take the host's by itself."""
    if run.network == "host" and request.network_mode != "host":
        raise PermissionDenied(
            "RUN --network=host needs a build that was started with --network=host"
        )


def recorded_command(run: Run, state: State) -> str:
    """The history's words: declared arguments but proxies, then the command."""
    declared = run_arguments(state.args, state.config)
    args = {name: value for name, value in declared.items() if name not in PROXY_ARGS}
    given = "".join(f" {name}={value}" for name, value in args.items())
    prefix = f"|{len(args)}{given} " if args else ""
    return f"RUN {prefix}{' '.join(arguments(run, state)[0])} # buildkit"


def arguments(run: Run, state: State) -> tuple[tuple[str, ...], str]:
    """What is executed; and the content of the script to mount, "" if there is none.

    One here-document alone is the shell's text, or with ``#!`` a program; otherwise it is the
    shell's own business.
    """
    if not run.heredocs or not run.command.shell:
        return command_args(state.config, run.command), ""
    first = run.heredocs[0]
    if len(run.heredocs) == 1 and parse_heredoc(run.command.args[0]):
        if first.content.startswith("#!"):
            return (f"{SCRIPT_DIRECTORY}/{first.name}",), first.data
        text = first.data
    else:
        documents = "".join(f"\n{doc.content}{doc.name}" for doc in run.heredocs)
        text = run.command.args[0] + documents
    command = replace(run.command, args=(text,))
    return command_args(state.config, command), ""


class RunExecutor:
    """Executes RUN steps of one build."""

    def __init__(
        self,
        runner: StepRunner,
        request: BuildRequest,
        build_args: BuildArgs,
        progress: Progress,
        cancel: Cancel,
    ) -> None:
        self._runner = runner
        self._request = request
        self._build_args = build_args
        self._progress = progress
        self._cancel = cancel

    def run(
        self, run: Run, state: State, snapshot: str, sources: MountSources, check: Check
    ) -> tuple[str, ...]:
        """Run to the end in an active snapshot; mountpoints that were made for it.

        StepFailed with the code, BuildCancelled.
        """
        args, script = arguments(run, state)
        with ExitStack() as stack:
            prepared = prepare(run, state.config.working_dir, sources, stack, check)
            mounts = prepared.mounts
            if script:
                name = run.heredocs[0].name
                mounts = (*mounts, script_mount(script, name, sources.scratch, stack))
            step = RunStep(
                id=secrets.token_hex(32),
                snapshot=snapshot,
                config=self._config(args, state, prepared.env),
                host=self._host(run, mounts),
                host_ca=self._request.host_ca,
            )
            return self._execute(step, args)

    def _execute(self, step: RunStep, args: tuple[str, ...]) -> tuple[str, ...]:
        self._progress(StepRunning(step.id))
        outcome = self._runner.run(step, self._output, self._cancel)
        if self._cancel.is_set():
            raise BuildCancelled("the build was cancelled")
        if outcome.exit_code:
            why = " (out of memory)" if outcome.oom_killed else ""
            raise StepFailed(
                f"The command '{' '.join(args)}' returned a non-zero code: "
                f"{outcome.exit_code}{why}",
                outcome.exit_code,
            )
        self._progress(StepRemoved(step.id))
        return outcome.created_mountpoints

    def _output(self, stream: str, data: bytes) -> None:
        event: Event = StepOutput("stderr" if stream == "stderr" else "stdout", data)
        self._progress(event)

    def _config(
        self, args: tuple[str, ...], state: State, added: dict[str, str]
    ) -> ContainerConfig:
        config = state.config
        env = (
            {EPOCH_ARG: str(state.epoch)}
            | self._build_args.run_proxies()
            | run_arguments(state.args, config)
            | env_dict(config)
            | added
        )
        return ContainerConfig(
            cmd=args,
            entrypoint=(),
            env=tuple(f"{name}={value}" for name, value in env.items()),
            user=config.user,
            working_dir=config.working_dir or "/",
            hostname=HOSTNAME,
        )

    def _host(self, run: Run, mounts: tuple[MountRequest, ...]) -> HostConfig:
        request = self._request
        network = request.network_mode or "default"
        return HostConfig(
            network_mode=network if run.network == "default" else run.network,
            memory=request.memory,
            memory_swap=request.memory_swap,
            cpu_shares=request.cpu_shares,
            cpuset_cpus=request.cpuset_cpus,
            cpuset_mems=request.cpuset_mems,
            cpu_period=request.cpu_period,
            cpu_quota=request.cpu_quota,
            cgroup_parent=request.cgroup_parent,
            ulimits=request.ulimits or None,
            extra_hosts=request.extra_hosts or None,
            security_opt=request.security_opt or None,
            shm_size=request.shm_size,
            mounts=mounts or None,
        )
