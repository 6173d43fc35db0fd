"""A log that cannot be is found out before its container is started."""

from __future__ import annotations

from wherry.errors import InternalError
from wherry.runtime.api import LogSettings
from wherry.runtime.logs.writer import open_file_writer


def check_log(settings: LogSettings) -> None:
    """Open the log and its service, and close them again. InvalidArgument, InternalError."""
    if settings.driver != "none":
        open_file_writer(settings).close()
    if settings.remote is None:
        return
    from wherry.runtime.logs.drivers import open_driver

    try:
        open_driver(settings.remote).close()
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        raise InternalError(
            f"failed to create task for container: failed to initialize logging driver:{where}"
            f" {error.strerror or error}"
        ) from None
