"""Doing without modules that others import and nobody uses, in a process made for one command.

A third of the time of ``wherry-runtime`` would go into them. msgspec imports uuid for a type that
our values have none of (and that platform), and what describes types to people (and that textwrap);
argparse imports gettext (and that locale), though our texts are not translated.

Stand-ins are for this process alone; nothing that it imports later uses the real ones.
"""

from __future__ import annotations

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


def _same(text: str) -> str:
    return text


def _one_of(single: str, several: str, number: int) -> str:
    return single if number == 1 else several


def leave_out() -> None:
    """To be called before anything else is imported."""
    for name in ("uuid", "msgspec.inspect", "msgspec._json_schema"):
        sys.modules.setdefault(name, _StandIn(name))
    texts = ModuleType("gettext")
    vars(texts).update(gettext=_same, ngettext=_one_of)
    sys.modules.setdefault("gettext", texts)
