"""The sources are clean: linter, formatter, types, sizes, no trace of the author's machine."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LINES = 500
_LONG: dict[str, str] = {}  # file: why it is longer than the limit
_FUNCTION_LINES = 40


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(arguments)} complains:\n{done.stdout}{done.stderr}"


def _python_files() -> list[Path]:
    places = [ROOT / name for name in ("src", "tests", "bench", "examples")]
    return sorted(path for place in places for path in place.rglob("*.py"))


def test_the_linter_is_content() -> None:
    _run("ruff", "check", ".")


def test_the_formatter_is_content() -> None:
    _run("ruff", "format", "--check", ".")


@pytest.mark.timeout(300)
def test_the_types_are_sound() -> None:
    _run("mypy")


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in _python_files()
        if (count := len(path.read_text().splitlines())) > _LINES
    }
    assert set(long) == set(_LONG), f"longer than {_LINES} lines: {long}"


def test_functions_are_small() -> None:
    sizes = sorted(_function_sizes())
    assert statistics.median(sizes) <= 12
    assert statistics.quantiles(sizes, n=10)[-1] < _FUNCTION_LINES


def _function_sizes() -> Iterator[int]:
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1


def test_nothing_tells_where_it_was_written() -> None:
    """No file names the place of this checkout or a directory beside it."""
    words = ["../" + "shared"]
    if len(ROOT.parts) > 2:
        words.append(f"{ROOT}/")
    found = [
        f"{path}: {word}" for path in _tracked() for word in words if word in _text(ROOT / path)
    ]
    assert not found


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], check=False, cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
