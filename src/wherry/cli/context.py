"""What a command works with: the engine, and the standard streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from wherry.client.address import DEFAULT_HOST, host_from
from wherry.client.session import Session
from wherry.errors import Unavailable

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from wherry.client.tls import TlsFiles

_NOTHING: Mapping[str, str] = {}
STDIN, STDOUT, STDERR = 0, 1, 2


class Context:
    """Connects when the engine is first needed, and starts one if none answers by default."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        host: str = "",
        config: str = "",
        tls: Mapping[str, str] = _NOTHING,
    ) -> None:
        self.environ = environ
        self.host = host or host_from(environ)
        self.config_directory = config or environ.get("DOCKER_CONFIG", "") or _home(environ)
        self._tls = tls
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> Session:
        session = Session(self.host, tls=self._tls_files())
        try:
            session.open()
        except Unavailable:
            if session.address.text != DEFAULT_HOST:
                raise
            from wherry.cli.autostart import start_engine

            start_engine(session)
        return session

    def _tls_files(self) -> TlsFiles | None:
        """By options, else by environment. Importing TLS costs what a command takes: it is not
        done for a Unix socket."""
        wanted = self._tls or any(self.environ.get(n) for n in ("DOCKER_TLS_VERIFY", "DOCKER_TLS"))
        if not wanted or not self.host.startswith(("tcp://", "http://")):
            return None
        from wherry.client.tls import TlsFiles, files_from, files_in

        given = self._tls
        verify = bool(given.get("verify")) or bool(self.environ.get("DOCKER_TLS_VERIFY"))
        found = files_from(self.environ) or files_in(self.config_directory, verify=verify)
        return TlsFiles(
            authority=given.get("cacert") or found.authority,
            certificate=given.get("cert") or found.certificate,
            key=given.get("key") or found.key,
            verify=verify,
        )

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
