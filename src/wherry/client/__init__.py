"""Typed client of the Engine API, and Wherry's public Python library.

    from wherry.client import Client

    with Client.from_env() as client:
        print(client.containers.run("busybox", ["echo", "hi"]).text)

Names are imported when they are first used: the command line pays for none of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

    from wherry.client.client import Client
    from wherry.client.containers import Container
    from wherry.client.execs import CommandFailed, Completed, Process
    from wherry.client.images import BuildFailed
    from wherry.client.progress import Credentials, Progress

_PLACES = {
    "BuildFailed": "images",
    "Client": "client",
    "CommandFailed": "execs",
    "Completed": "execs",
    "Container": "containers",
    "Credentials": "progress",
    "Process": "execs",
    "Progress": "progress",
}

__all__ = [
    "BuildFailed",
    "Client",
    "CommandFailed",
    "Completed",
    "Container",
    "Credentials",
    "Process",
    "Progress",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
