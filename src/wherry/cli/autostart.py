"""Start an engine when none answers on the default socket, so that there is nothing to set up."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.client.session import Session
from wherry.errors import PermissionDenied, Unavailable

_PATIENCE = 20.0  # seconds
_BETWEEN = 0.01  # seconds from one look at the socket to the next
_LOG_NAME = "engine.log"
_LOG_LIMIT = 10 * 1024 * 1024  # bytes; a larger log is put aside when an engine is started
_TAIL = 2000  # bytes of the log to look at for a reason


def start_engine(session: Session, command: tuple[str, ...] = ()) -> None:
    """Start an engine in the background and wait until ``session`` is connected.

    Commands that get here at the same moment start one engine: the first takes a lock, the others
    find its socket. PermissionDenied without root; Unavailable with the engine's last words if it
    does not come up. ``command`` is what to execute, by default this interpreter's wherry.daemon.
    """
    if os.geteuid() != 0:
        raise PermissionDenied(
            f"no engine answers at {session.address.text}, and starting one needs root: "
            "use sudo, or name a running engine with -H or WHERRY_HOST"
        )
    directory = os.path.dirname(session.address.path)
    os.makedirs(directory, mode=0o711, exist_ok=True)
    with _only_one(directory):
        if not _answers(session):
            log = os.path.join(directory, _LOG_NAME)
            engine = _spawn(command or (sys.executable, "-m", "wherry.daemon"), log)
            _wait(session, engine, log)


@contextmanager
def _only_one(directory: str) -> Iterator[None]:
    descriptor = os.open(
        os.path.join(directory, "start.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(session: Session) -> bool:
    try:
        session.open()
    except Unavailable:
        return False
    return True


def _spawn(command: tuple[str, ...], log: str) -> subprocess.Popen[bytes]:
    if os.path.exists(log) and os.path.getsize(log) > _LOG_LIMIT:
        os.replace(log, f"{log}.1")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd="/",
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def _wait(session: Session, engine: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _answers(session):
        try:
            code = engine.wait(_BETWEEN)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"the engine was started (process {engine.pid}) but does not answer after "
                    f"{_PATIENCE:.0f} seconds: see {log}"
                ) from None
        else:
            raise Unavailable(f"the engine ended with status {code}: {_last_words(log)}")
    engine.returncode = 0  # it stays: nobody waits for it, and that is no mistake


def _last_words(log: str) -> str:
    with open(log, "rb") as source:
        source.seek(max(0, os.path.getsize(log) - _TAIL))
        lines = source.read().decode(errors="replace").strip().splitlines()
    return f"{lines[-1]} (see {log})" if lines else f"it said nothing (see {log})"
