"""The daemon: ``wherry daemon`` and ``python -m wherry.daemon``.

Reads argv, environment and configuration once, takes the locks, binds the sockets, opens the
engine and serves until SIGTERM or SIGINT. Containers go on when it ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from wherry import __version__
from wherry.daemon.environment import ca_bundle, proxy_environment
from wherry.daemon.locks import locked_root, pid_file
from wherry.daemon.logs import set_up
from wherry.daemon.options import Options, read_options
from wherry.daemon.sockets import bind, release
from wherry.errors import WherryError

log = logging.getLogger("wherry.daemon")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    try:
        options = read_options(sys.argv[1:] if argv is None else argv, __version__)
        set_up(options.log_level, options.debug)
        run(options, os.environ if environ is None else environ)
    except WherryError as error:
        sys.stderr.write(f"wherry daemon: {error}\n")
        return 1
    return 0


def run(options: Options, environ: Mapping[str, str]) -> None:
    """Everything from the locks to the last closed socket; WherryError if it cannot start."""
    _raise_file_limit()
    data_root, exec_root = (os.path.abspath(p) for p in (options.data_root, options.exec_root))
    with ExitStack() as stack:
        stack.enter_context(locked_root(data_root, "data root"))
        if exec_root != data_root:
            stack.enter_context(locked_root(exec_root, "exec root"))
        stack.enter_context(pid_file(options.pidfile))
        sockets = [_listening(host, options, stack) for host in options.hosts]
        asyncio.run(_serve(options, environ, data_root, exec_root, sockets))


def _raise_file_limit() -> None:
    """Each container and each stream needs descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listening(host: str, options: Options, stack: ExitStack) -> socket.socket:
    """Listen at once, so that clients wait in the queue while the engine opens."""
    sock = bind(host, group=options.group, insecure_tcp=options.insecure_tcp)
    stack.callback(release, sock, host.removeprefix("unix://"))
    sock.listen(512)
    if sock.family != socket.AF_UNIX:
        log.warning("%s is served without TLS: whoever can connect is root here", host)
    return sock


async def _serve(
    options: Options,
    environ: Mapping[str, str],
    data_root: str,
    exec_root: str,
    sockets: list[socket.socket],
) -> None:
    from wherry.api.app import create_app
    from wherry.api.http.server import HttpServer
    from wherry.api.settings import ApiSettings
    from wherry.daemon.wiring import open_engine
    from wherry.engine.settings import EngineSettings

    stop = _stop_on_signals()
    proxies = proxy_environment(environ, options.proxies)
    settings = EngineSettings(
        data_root=data_root,
        exec_root=exec_root,
        host_ca=options.host_ca,
        host_ca_bundle=ca_bundle(environ),
        proxy_env=proxies,
        dns=options.dns,
        dns_options=options.dns_opts,
        dns_search=options.dns_search,
        bip=options.bip,
        mtu=options.mtu,
        insecure_registries=options.insecure_registries,
        registry_mirrors=options.registry_mirrors,
        labels=options.labels,
        debug=options.debug,
        cgroup_parent=options.cgroup_parent,
    )
    engine = open_engine(settings)
    app = create_app(
        engine,
        ApiSettings(version=__version__, host_ca=options.host_ca, proxy_env=proxies),
    )
    server = HttpServer(app)
    try:
        for sock in sockets:
            await server.listen(sock)
        _settle_memory()
        log.info("wherry %s listens on %s", __version__, ", ".join(options.hosts))
        await stop.wait()
        log.info("stopping; containers go on")
    finally:
        await server.close()
        app.close()
        engine.close()


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
