"""What a command works with: the engine, and the standard streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from wherry.client.address import DEFAULT_HOST, host_from
from wherry.client.session import Session
from wherry.errors import Unavailable

STDIN, STDOUT, STDERR = 0, 1, 2


class Context:
    """Connects when the engine is first needed, and starts one if none answers by default."""

    def __init__(self, environ: Mapping[str, str], *, host: str = "", config: str = "") -> None:
        self.environ = environ
        self.host = host or host_from(environ)
        self.config_directory = config or environ.get("DOCKER_CONFIG", "") or _home(environ)
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> Session:
        session = Session(self.host)
        try:
            session.open()
        except Unavailable:
            if session.address.text != DEFAULT_HOST:
                raise
            from wherry.cli.autostart import start_engine

            start_engine(session)
        return session

    def close(self) -> None:
        if self._session is not None:
            self._session.close()

    def print(self, text: str = "", *, end: str = "\n") -> None:
        """Write to standard output. What it cannot encode is replaced."""
        sys.stdout.write(text + end)

    def complain(self, text: str) -> None:
        """Write a line to standard error, after all that was printed."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _home(environ: Mapping[str, str]) -> str:
    return os.path.join(environ.get("HOME") or "/", ".docker")


def is_terminal(descriptor: int) -> bool:
    """Whether it is a terminal; a descriptor that is closed is none."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
