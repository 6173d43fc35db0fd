"""Doing without modules that others import and nobody uses, in a process made for one command.

Half of the time of ``wherry-runtime`` would go into them. msgspec imports uuid, decimal, enum for
types that our values have none of (and those platform and numbers), the other formats that it
knows, and what describes types to people (and that textwrap); typing imports re for a name, and
warnings. Of socket, signal, datetime and operator the parts in C are taken, which have all that is
used here: those in Python wrap them, and some begin with making enumerations of their constants.

The stand-ins are there while the command is imported. What is imported later gets the real ones.
"""

import sys
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
    "warnings",
)
_IN_C = {
    "datetime": "_datetime",
    "operator": "_operator",
    "signal": "_signal",
    "socket": "_socket",
}


class left_out:  # noqa: N801 - as those of contextlib, which would have to be imported
    """Before anything else is imported: what is imported within does without."""

    def __enter__(self) -> None:
        self._absent = {n: module for n, module in _stand_ins().items() if n not in sys.modules}
        sys.modules.update(self._absent)
        sys.modules["typing_extensions"] = None  # type: ignore[assignment] # msgspec asks for it
        _import_msgspec()

    def __exit__(self, *_: object) -> None:
        for name in self._absent:
            del sys.modules[name]


def _import_msgspec() -> None:
    """It makes a forward reference only to see what that takes; the interpreter's compiler would be
    set up."""
    import typing

    real = typing.ForwardRef
    typing.ForwardRef = _Anything("ForwardRef", (), {"__init__": lambda *_, **__: None})  # type: ignore
    try:
        __import__("msgspec")
    finally:
        typing.ForwardRef = real  # type: ignore[misc]


def _stand_ins() -> dict[str, ModuleType]:
    found: dict[str, ModuleType] = {name: _StandIn(name) for name in _UNUSED}
    for name, part in _IN_C.items():
        try:
            found[name] = __import__(part)
        except ImportError:
            pass  # of an interpreter that has no such part
    return found
