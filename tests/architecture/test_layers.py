"""Who may import whom (docs/architecture.md), read from the sources, inner imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "wherry"

_BASE = {"errors", "model"}
_FILES = _BASE | {"sys", "fs"}
_ENGINE_PARTS = _FILES | {"store", "network", "volume", "snapshot", "cgroup", "runtime"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "model": {"errors"},
    "sys": _BASE,
    "fs": _BASE | {"sys"},
    "store": _FILES | {"snapshot.api"},
    "network": _FILES | {"store"},
    "volume": _FILES | {"store"},
    "snapshot": _FILES | {"store"},
    "cgroup": _FILES,
    # The launcher and the monitors hold what these import in memory.
    "runtime": _FILES | {"cgroup", "snapshot.api"},
    "registry": _FILES | {"store"},
    "build": _ENGINE_PARTS | {"registry"},
    "bootstrap": _ENGINE_PARTS | {"registry", "build.api"},
    "engine": _ENGINE_PARTS | {"registry", "build", "bootstrap"},
    "api": _ENGINE_PARTS | {"registry", "build", "bootstrap", "engine"},
    "client": _BASE,
    "cli": _BASE | {"client", "fs"},  # fs: what cp unpacks here is as hostile as a layer
    "daemon": _ENGINE_PARTS | {"registry", "build", "bootstrap", "engine", "api"},
    "testing": _ENGINE_PARTS | {"registry", "build", "bootstrap", "engine", "api", "client"},
}

_ONLY_IN = {
    "ctypes": {"sys"},
    "_ctypes": {"sys"},
    "asyncio": {"api", "daemon"},
    "aiohttp": {"api", "daemon"},
}


def _modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _package(path: Path) -> str:
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


@cache
def _imports(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple(_read_imports(path))


def _read_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Absolute names of all modules a file may load, with the line; also what is imported
    ``from`` a package, since that may be a module too."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ("wherry", *path.relative_to(SOURCE).parent.parts)
    base = package[: len(package) - node.level + 1]
    return ".".join((*base, *filter(None, [node.module])))


def _permitted(package: str, target: str) -> bool:
    """``target`` is the imported name below ``wherry``: ``store.api.Blobs``."""
    return target.split(".")[0] == package or any(
        target == allowed or target.startswith(f"{allowed}.") for allowed in ALLOWED[package]
    )


def _relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", _modules(), ids=_relative)
def test_imports_only_from_layers_below(path: Path) -> None:
    package = _package(path)
    if package == "__init__":
        package = "errors"  # the root package stands below everything
    bad = [
        f"line {line}: {name}"
        for line, name in _imports(path)
        if name.startswith("wherry.")
        and name != "wherry.__version__"
        and not _permitted(package, name.removeprefix("wherry."))
    ]
    assert not bad, f"{_relative(path)} may not import " + ", ".join(bad)


@pytest.mark.parametrize("path", _modules(), ids=_relative)
def test_ctypes_and_asyncio_stay_where_they_belong(path: Path) -> None:
    bad = [
        f"line {line}: {name}"
        for line, name in _imports(path)
        if _package(path) not in _ONLY_IN.get(name.split(".")[0], {_package(path)})
    ]
    assert not bad, f"{_relative(path)} may not import " + ", ".join(bad)


def test_every_package_has_a_rule() -> None:
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert packages | {"errors"} == set(ALLOWED)


def test_the_rules_have_no_cycle() -> None:
    seen: set[str] = set()
    waiting = {
        name: {dependency for dependency in allowed if "." not in dependency}
        for name, allowed in ALLOWED.items()
    }
    while ready := {name for name, needs in waiting.items() if needs <= seen}:
        seen |= ready
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}
    assert not waiting
