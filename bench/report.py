"""The table, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.engines.base import Engine
from bench.measure import Outcome, Result

OURS = "wherry"
PEER = "dockerd"


def facts(engines: Sequence[Engine]) -> dict[str, str]:
    """The machine and the versions."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": f"{os.cpu_count()} x {_processor()}",
        **{engine.name: engine.version() for engine in engines},
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(results: Sequence[Result], names: Sequence[str]) -> str:
    """Medians of all engines, the ratio of ours to the peer's, and what is wished."""
    head = ["work", *names, f"{OURS}/{PEER}", "wanted", ""]
    rows = [head, *(_line(result, names) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [_join(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([*lines, *_errors(results)])


def _join(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = row
    cells = [first.ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
    return "  ".join(cells).rstrip()


def _line(result: Result, names: Sequence[str]) -> list[str]:
    row = result.row
    values = [_value(result.outcomes.get(name), row.unit) for name in names]
    ratio = result.ratio(OURS, PEER)
    return [
        row.title,
        *values,
        "" if ratio is None else f"{ratio:.3f}",
        _wanted(result),
        verdict(result),
    ]


def _value(outcome: Outcome | None, unit: str) -> str:
    if outcome is None or outcome.median is None:
        return "failed" if outcome and outcome.error else "-"
    digits = 1 if outcome.median < 1000 else 0
    if outcome.median < 10:
        digits = 2
    return f"{outcome.median:.{digits}f} {unit}"


def _wanted(result: Result) -> str:
    row = result.row
    if row.target is not None:
        return f"{'>=' if row.more_is_better else '<='} {row.target:g}"
    return f"<= {row.limit:g} {row.unit}" if row.limit is not None else ""


def verdict(result: Result) -> str:
    """``reached`` or ``missed``; empty where nothing is wished or measured."""
    row = result.row
    ratio = result.ratio(OURS, PEER)
    if row.target is not None and ratio is not None:
        good = ratio >= row.target if row.more_is_better else ratio <= row.target
        return "reached" if good else "missed"
    ours = result.outcomes.get(OURS, Outcome()).median
    if row.limit is not None and ours is not None:
        return "reached" if ours <= row.limit else "missed"
    return ""


def _errors(results: Sequence[Result]) -> Iterator[str]:
    for result in results:
        for name, outcome in result.outcomes.items():
            if outcome.error:
                yield f"{name}, {result.row.title}: {outcome.error}"


def as_json(results: Sequence[Result], known: dict[str, str]) -> str:
    rows = [
        {
            "key": result.row.key,
            "title": result.row.title,
            "unit": result.row.unit,
            "ratio": result.ratio(OURS, PEER),
            "wanted": _wanted(result),
            "verdict": verdict(result),
            "engines": {
                name: {"median": o.median, "samples": o.samples, "error": o.error}
                for name, o in result.outcomes.items()
            },
        }
        for result in results
    ]
    return json.dumps({"machine": known, "rows": rows}, indent=2)
