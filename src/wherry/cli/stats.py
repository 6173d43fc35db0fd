"""``stats``."""

from __future__ import annotations

import sys

from wherry.cli.context import STDOUT, Context, is_terminal
from wherry.cli.each import container_path
from wherry.cli.listing import FORMAT, NO_TRUNC, Listing, Row
from wherry.cli.options import Arguments, Command, Option
from wherry.cli.text import binary_size, human_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_COLUMNS = {
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_CLEAR = "\x1b[2J\x1b[H"


def _stats(context: Context, arguments: Arguments) -> int:
    while True:
        rows = [
            _row(context.session.get(container_path(name, "/stats"), {"stream": False}), arguments)
            for name in arguments.words or _names(context, arguments)
        ]
        if is_terminal(STDOUT) and not arguments.flag("no-stream"):
            context.print(_CLEAR, end="")
        Listing(_COLUMNS, hidden={"Container": "CONTAINER"}).show(context, rows, arguments)
        sys.stdout.flush()
        if arguments.flag("no-stream") or not rows:
            return 0


def _names(context: Context, arguments: Arguments) -> list[str]:
    listed = context.session.get("/containers/json", {"all": arguments.flag("all")})
    return [item["Id"] for item in listed]


def _row(stats: Any, arguments: Arguments) -> Row:
    identifier = stats.get("id") or ""
    memory = stats.get("memory_stats") or {}
    used, limit = memory_used(memory), memory.get("limit") or 0
    networks = (stats.get("networks") or {}).values()
    blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    shown = identifier if arguments.flag("no-trunc") else identifier[:12]
    return {
        "ID": shown,
        "Container": shown,
        "Name": (stats.get("name") or "--").lstrip("/"),
        "CPUPerc": f"{cpu_percent(stats):.2f}%",
        "MemUsage": f"{binary_size(used)} / {binary_size(limit)}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "NetIO": _both(sum(n["rx_bytes"] for n in networks), sum(n["tx_bytes"] for n in networks)),
        "BlockIO": _both(_blocks(blocks, "read"), _blocks(blocks, "write")),
        "PIDs": str((stats.get("pids_stats") or {}).get("current") or 0),
    }


def _both(first: int, second: int) -> str:
    return f"{human_size(first)} / {human_size(second)}"


def _blocks(entries: list[Any], operation: str) -> int:
    return sum(entry["value"] for entry in entries if entry["op"].lower() == operation)


def memory_used(memory: Any) -> int:
    """Bytes in use without what the kernel can drop (Engine API, ContainerStats)."""
    usage = memory.get("usage") or 0
    details = memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):
        if (cached := details.get(name, usage)) < usage:
            return int(usage - cached)
    return int(usage)


def cpu_percent(stats: Any) -> float:
    """Percent of one processor between the two samples of an answer."""
    now, before = stats.get("cpu_stats") or {}, stats.get("precpu_stats") or {}
    used = _cpu(now) - _cpu(before)
    system = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    processors = now.get("online_cpus") or 1
    return 100 * processors * used / system if used > 0 and system > 0 else 0.0


def _cpu(sample: Any) -> int:
    return int((sample.get("cpu_usage") or {}).get("total_usage") or 0)


COMMANDS = {
    "stats": Command(
        "stats [OPTIONS] [CONTAINER...]",
        "Display a live stream of container(s) resource usage statistics",
        _stats,
        (
            Option("-a --all", "Show all containers (default shows just running)", "flag"),
            FORMAT,
            Option("--no-stream", "Only pull the first result", "flag"),
            NO_TRUNC,
        ),
    )
}
