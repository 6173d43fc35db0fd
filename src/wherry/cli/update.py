"""``update``."""

from __future__ import annotations

from wherry.cli.context import Context
from wherry.cli.create_body import restart_policy
from wherry.cli.each import container_path, each
from wherry.cli.mounts import parse_mount
from wherry.cli.options import Arguments, Command, Option, UsageError
from wherry.cli.ports import parse_ports
from wherry.cli.values import parse_cpus, parse_size, parse_swap

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    Body = dict[str, Any]


def _update(context: Context, arguments: Arguments) -> int:
    body = update_body(arguments)
    if not body:
        raise UsageError("you must provide one or more flags when using this command.", 1)

    def act(name: str) -> None:
        answer = context.session.post(container_path(name, "/update"), json=body)
        for warning in answer.get("Warnings") or ():
            context.complain(f"WARNING: {warning}")

    return each(context, arguments.words, act)


def update_body(arguments: Arguments) -> Body:
    """What is asked for, and nothing else: the engine keeps what is not said."""
    body: Body = {
        "BlkioWeight": _number(arguments, "blkio-weight"),
        "CpuPeriod": _number(arguments, "cpu-period"),
        "CpuQuota": _number(arguments, "cpu-quota"),
        "CpuRealtimePeriod": _number(arguments, "cpu-rt-period"),
        "CpuRealtimeRuntime": _number(arguments, "cpu-rt-runtime"),
        "CpuShares": _number(arguments, "cpu-shares"),
        "CpusetCpus": arguments.text("cpuset-cpus") or None,
        "CpusetMems": arguments.text("cpuset-mems") or None,
        "Memory": parse_size(arguments.text("memory")) or None,
        "MemoryReservation": parse_size(arguments.text("memory-reservation")) or None,
        "MemorySwap": parse_swap(arguments.text("memory-swap")) or None,
        "NanoCpus": parse_cpus(arguments.text("cpus")) or None,
        "PidsLimit": _number(arguments, "pids-limit"),
        "RestartPolicy": _restart(arguments),
        "PublishAdd": parse_ports(arguments.many("publish-add"), ())[1] or None,
        "PublishRemove": arguments.many("publish-rm") or None,
        "MountAdd": [parse_mount(text) for text in arguments.many("mount-add")] or None,
        "MountRemove": arguments.many("mount-rm") or None,
    }
    return {name: value for name, value in body.items() if value is not None}


def _number(arguments: Arguments, name: str) -> int | None:
    return arguments.number(name) if arguments.given(name) else None


def _restart(arguments: Arguments) -> Body | None:
    return restart_policy(arguments.text("restart")) if arguments.given("restart") else None


COMMANDS = {
    "update": Command(
        "update [OPTIONS] CONTAINER [CONTAINER...]",
        "Update configuration of one or more containers",
        _update,
        (
            Option("--blkio-weight", "Block IO weight, between 10 and 1000", "number"),
            Option("--cpu-period", "CPU CFS period in microseconds", "number"),
            Option("--cpu-quota", "CPU CFS quota in microseconds", "number"),
            Option("--cpu-rt-period", "CPU real-time period in microseconds", "number"),
            Option("--cpu-rt-runtime", "CPU real-time runtime in microseconds", "number"),
            Option("-c --cpu-shares", "CPU shares (relative weight)", "number"),
            Option("--cpus", "Number of CPUs", metavar="decimal"),
            Option("--cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
            Option("--cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
            Option("-m --memory", "Memory limit", metavar="bytes"),
            Option("--memory-reservation", "Memory soft limit", metavar="bytes"),
            Option("--memory-swap", "Memory and swap limit: '-1' for unlimited", metavar="bytes"),
            Option("--pids-limit", "Tune container pids limit (set -1 for unlimited)", "number"),
            Option("--restart", "Restart policy to apply when a container exits"),
            Option("--publish-add", "Publish a port, at once", "list"),
            Option("--publish-rm", "Take back a published port of the container (80/tcp)", "list"),
            Option("--mount-add", "Attach a filesystem mount; restarts the container", "list"),
            Option("--mount-rm", "Remove the mount at a path; restarts the container", "list"),
        ),
        least=1,
    ),
}
