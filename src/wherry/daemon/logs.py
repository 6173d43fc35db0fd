"""The engine's own log: one line for each record on standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time

from wherry.api.requests import request_id

FORMATS = ("text", "json")
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}


def _moment(record: logging.LogRecord) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03}Z"


class _Lines(logging.Formatter):
    """``2026-11-21T08:30:00.123Z INFO wherry.daemon: text [request 1f...]``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _moment(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        text = super().formatMessage(record)
        request = request_id.get()
        return f"{text} [request {request}]" if request else text


class _Objects(logging.Formatter):
    """One JSON object on a line: ``time``, ``level``, ``logger``, ``message``, and where there is
    one ``request`` and ``error`` (with its place)."""

    def format(self, record: logging.LogRecord) -> str:
        members = {
            "time": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            members["request"] = request
        if record.exc_info:
            members["error"] = self.formatException(record.exc_info)
        return json.dumps(members)


def set_up(level: str, debug: bool, form: str = "text") -> None:
    """``form`` is one of :data:`FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Objects() if form == "json" else _Lines())
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.DEBUG if debug else _LEVELS[level])
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.raiseExceptions = False  # a closed standard error must not stop the engine
