"""Logging services that get what containers print: journald, syslog, fluentd and gelf.

A driver runs in a process of its own beside the monitor (:mod:`wherry.runtime.logs.shipping`), so
that it may wait for its service. Each module has ``check(options)`` for what may be asked and
``open_driver(target)`` for the driver; a module is imported when its driver is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from wherry.runtime.api import LogTarget
from wherry.runtime.logs.drivers.messages import Message

SERVICES = ("fluentd", "gelf", "journald", "syslog")


class Driver(Protocol):
    """Sends messages to one service."""

    def log(self, message: Message) -> None:
        """Send one message; OSError if it is lost. May wait as long as the driver's options say."""
        ...

    def idle(self) -> float | None:
        """Called when there is no message: see to what was kept back. Returns the seconds until
        the next call; None if there is nothing to see to."""
        ...

    def close(self) -> None:
        """Send what is kept back, and end."""
        ...


class _Module(Protocol):
    def check(self, options: Mapping[str, str]) -> None: ...

    def open_driver(self, target: LogTarget) -> Driver: ...


def _module(name: str) -> _Module:
    return cast(_Module, import_module(f"{__name__}.{name}"))


def check_options(name: str, options: Mapping[str, str]) -> None:
    """InvalidArgument for an option that the service does not know, or a wrong value."""
    _module(name).check(options)


def open_driver(target: LogTarget) -> Driver:
    """Connect to a service; OSError if that fails."""
    return _module(target.driver).open_driver(target)
