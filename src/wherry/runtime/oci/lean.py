"""Doing without modules that others import and nobody uses, in a process made for one command.

Half of the time of ``wherry-runtime`` would go into them. msgspec imports uuid, decimal, enum for
types that our values have none of (and those platform and numbers), the other formats that it
knows, and what describes types to people (and that textwrap); typing imports re for a name. Of
socket, signal and datetime the parts in C are taken, which have all that is used here: those in
Python wrap them, and begin with making enumerations of their constants.

The stand-ins are there while the command is imported. What is imported later gets the real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


class _Anything(type):
    """Of a class that has a class by every name."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


class _StandIn(ModuleType):
    """A module that has a class by every name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


_UNUSED = (
    "decimal",
    "enum",
    "msgspec._json_schema",
    "msgspec.inspect",
    "msgspec.msgpack",
    "msgspec.toml",
    "msgspec.yaml",
    "re",
    "uuid",
)
_IN_C = {"datetime": "_datetime", "signal": "_signal", "socket": "_socket"}


def _stand_ins() -> Iterator[tuple[str, ModuleType]]:
    for name in _UNUSED:
        yield name, _StandIn(name)
    for name, part in _IN_C.items():
        try:
            yield name, import_module(part)
        except ImportError:
            pass  # of an interpreter that has no such part


@contextmanager
def left_out() -> Iterator[None]:
    """Before anything else is imported: what is imported within does without."""
    absent = {name: module for name, module in _stand_ins() if name not in sys.modules}
    sys.modules.update(absent)
    sys.modules["typing_extensions"] = None  # type: ignore[assignment] # msgspec asks for it first
    _without_forward_references()
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _without_forward_references() -> None:
    """msgspec makes one only to see what it takes; the interpreter's compiler would be set up."""
    import typing

    real = typing.ForwardRef
    typing.ForwardRef = _Anything("ForwardRef", (), {"__init__": lambda *_, **__: None})  # type: ignore
    try:
        import_module("msgspec")
    finally:
        typing.ForwardRef = real  # type: ignore[misc]
