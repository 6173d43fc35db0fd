"""The process that waits for a logging service (or a slow disk) in a monitor's place."""

from __future__ import annotations

import os
import signal
import socket
from typing import NoReturn

from wherry.runtime.api import LogSettings
from wherry.runtime.logs import formats
from wherry.runtime.logs.drivers import Driver, open_driver
from wherry.runtime.logs.drivers.messages import Message, Messages
from wherry.runtime.logs.writer import open_file_writer
from wherry.runtime.title import set_own_name
from wherry.sys.files import close_range

_PACKET = 128 * 1024
_RETRY = 1.0  # seconds between attempts to reach a service that was there at the start


def become_shipper(settings: LogSettings, sock: socket.socket) -> NoReturn:
    """In a fresh fork of a monitor: drop all that is the monitor's, serve, and exit."""
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        set_own_name(b"wherry-shipper")
        number = sock.fileno()
        if number > 3:
            close_range(3, number - 1)
        close_range(number + 1)
        if settings.remote is None:
            _write_file(settings, sock)
        else:
            _send(settings, sock)
    except BaseException:  # noqa: BLE001 - nobody listens, and the container is not to suffer
        os._exit(1)
    os._exit(0)


def _write_file(settings: LogSettings, sock: socket.socket) -> None:
    writer = open_file_writer(settings)
    while record := sock.recv(_PACKET):
        size, flags, time_ns = formats.HEADER.unpack_from(record)
        data = record[formats.HEADER.size : formats.HEADER.size + size]
        partial = bool(flags & formats.PARTIAL)
        writer.write(flags & formats.STREAM_MASK, [(time_ns, data, partial)])
    writer.close()


def _send(settings: LogSettings, sock: socket.socket) -> None:
    driver = _opened(settings, sock)
    messages = Messages()
    wait: float | None = None
    while True:
        sock.settimeout(wait)
        try:
            record = sock.recv(_PACKET)
        except TimeoutError:
            wait = driver.idle()
            continue
        if not record:
            break
        for message in messages.of_record(record):
            _log(driver, message)
        wait = driver.idle()
    driver.close()


def _opened(settings: LogSettings, sock: socket.socket) -> Driver:
    """The driver. Its service answered when the container was started; should it be gone already,
    it is tried again until it answers or the monitor gives up and kills this process."""
    assert settings.remote is not None
    import time

    while True:
        try:
            return open_driver(settings.remote)
        except OSError:
            time.sleep(_RETRY)


def _log(driver: Driver, message: Message) -> None:
    try:
        driver.log(message)
    except OSError:
        pass  # lost; it is in the cache that `logs` reads
