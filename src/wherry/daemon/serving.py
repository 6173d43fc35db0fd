"""The part of the daemon that runs on the event loop: from listening to the last answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Sequence

from wherry.api.app import create_app
from wherry.api.http.server import HttpServer
from wherry.api.settings import ApiSettings
from wherry.daemon.listeners import Listener
from wherry.engine.api import EngineApi

_SETTLED = 0.5
"""Seconds after which the clients that waited for the start have their answers."""

log = logging.getLogger("wherry.daemon")


async def serve(
    engine: EngineApi,
    settings: ApiSettings,
    listeners: Sequence[Listener],
) -> None:
    """Serve until SIGTERM or SIGINT, then end streams and give short requests a moment."""
    stop = _stop_on_signals()
    realms = {each.name: each.policy for each in listeners if each.policy is not None}
    app = create_app(engine, settings, realms)
    server = HttpServer(app)
    begun = engine.execs.listen_for_begun()
    asyncio.get_running_loop().add_reader(begun, begun.take)
    try:
        for each in listeners:
            realm = each.name if each.policy is not None else ""
            await server.listen(each.sock, tls=each.tls, realm=realm)
        log.info(
            "wherry %s listens on %s", settings.version, ", ".join(each.name for each in listeners)
        )
        asyncio.get_running_loop().call_later(_SETTLED, _settle_memory)
        await stop.wait()
        log.info("stopping; containers go on")
    finally:
        await server.close()
        app.close()


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, log.warning, "the configuration is read at start only")
    return stop


def _settle_memory() -> None:
    """What is there now stays: leave it out of every later collection, and collect seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
