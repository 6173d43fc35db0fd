"""Doing without modules that others import and nobody uses, in a process made for one command.

A third of the time of ``wherry-runtime`` would go into them. msgspec imports uuid and decimal for
types that our values have none of (and those platform and numbers), the other formats that it
knows, and what describes types to people (and that textwrap); argparse imports gettext (and that
locale), though our texts are not translated. Of datetime it takes the part in C, which before
Python 3.12 comes behind a part in Python that is read and then not used.

Stand-ins are for this process alone; nothing that it imports later uses the real ones.
"""

from __future__ import annotations

import sys
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


def _same(text: str) -> str:
    return text


def _one_of(single: str, several: str, number: int) -> str:
    return single if number == 1 else several


_UNUSED = (
    "decimal",
    "uuid",
    "msgspec._json_schema",
    "msgspec.inspect",
    "msgspec.msgpack",
    "msgspec.toml",
    "msgspec.yaml",
)


def leave_out() -> None:
    """To be called before anything else is imported."""
    for name in _UNUSED:
        sys.modules.setdefault(name, _StandIn(name))
    try:
        sys.modules.setdefault("datetime", import_module("_datetime"))
    except ImportError:
        pass  # an interpreter without it uses the part in Python
    texts = ModuleType("gettext")
    vars(texts).update(gettext=_same, ngettext=_one_of)
    sys.modules.setdefault("gettext", texts)
