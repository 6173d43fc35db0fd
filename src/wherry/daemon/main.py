"""The daemon: ``wherry daemon`` and ``python -m wherry.daemon``.

Reads argv, environment and configuration once, takes the locks, binds the sockets, opens the
engine and serves until SIGTERM or SIGINT. Containers go on when it ends.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from wherry import __version__
from wherry.api.settings import ApiSettings
from wherry.daemon.environment import ca_bundle, proxy_environment
from wherry.daemon.exec_options import cgroup_driver
from wherry.daemon.listeners import Listener, open_listeners
from wherry.daemon.locks import locked_root, pid_file
from wherry.daemon.logs import set_up
from wherry.daemon.options import Options, read_options
from wherry.daemon.remap import read_user_map
from wherry.daemon.runtimes import check_default, runtime_commands
from wherry.engine.api import EngineApi
from wherry.engine.settings import EngineSettings
from wherry.errors import WherryError
from wherry.sys.faults import listen_to

if TYPE_CHECKING:
    from wherry.engine.engine import Engine

log = logging.getLogger("wherry.daemon")


def main(argv: Sequence[str] | None = None, environ: MutableMapping[str, str] | None = None) -> int:
    """Run the daemon; returns the exit status."""
    found = os.environ if environ is None else environ
    listen_to(found)
    try:
        options = read_options(sys.argv[1:] if argv is None else argv, __version__)
        set_up(options.log_level, options.debug, options.log_format)
        run(options, found)
    except WherryError as error:
        sys.stderr.write(f"wherry daemon: {error}\n")
        return 1
    return 0


def run(options: Options, environ: MutableMapping[str, str]) -> None:
    """Everything from the locks to the last closed socket; WherryError if it cannot start."""
    _raise_file_limit()
    settings = _engine_settings(options, environ)
    with ExitStack() as stack:
        stack.enter_context(locked_root(settings.data_root, "data root"))
        if settings.exec_root != settings.data_root:
            stack.enter_context(locked_root(settings.exec_root, "exec root"))
        stack.enter_context(pid_file(options.pidfile))
        listeners = open_listeners(options, environ, stack)
        # Before asyncio and the API are loaded: the engine starts helpers.
        engine = _opened(settings)
        stack.callback(engine.close)
        _serve(engine, settings, options, listeners)


def _opened(settings: EngineSettings) -> Engine:
    from wherry.daemon.wiring import open_engine

    return open_engine(settings)


def _engine_settings(options: Options, environ: Mapping[str, str]) -> EngineSettings:
    runtimes = runtime_commands(options.add_runtime, options.runtimes)
    driver = cgroup_driver(options.exec_opts, options.cgroup_parent)
    return EngineSettings(
        data_root=os.path.abspath(options.data_root),
        exec_root=os.path.abspath(options.exec_root),
        host_ca=options.host_ca,
        host_ca_bundle=ca_bundle(environ),
        proxy_env=proxy_environment(environ, options.proxies),
        dns=options.dns,
        dns_options=options.dns_opts,
        dns_search=options.dns_search,
        bip=options.bip,
        accept_forward=options.accept_forward,
        mtu=options.mtu,
        users=read_user_map(options.userns_remap),
        insecure_registries=options.insecure_registries,
        registry_mirrors=options.registry_mirrors,
        labels=options.labels,
        selinux=options.selinux_enabled,
        debug=options.debug,
        cgroup_parent=options.cgroup_parent,
        systemd_cgroups=driver == "systemd",
        runtimes=runtimes,
        log_driver=options.log_driver,
        log_options=options.log_opts,
        default_runtime=check_default(options.default_runtime, runtimes),
    )


def _raise_file_limit() -> None:
    """Each container and each stream needs descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve(
    engine: EngineApi,
    settings: EngineSettings,
    options: Options,
    listeners: Sequence[Listener],
) -> None:
    import asyncio

    from wherry.daemon.serving import serve

    api = ApiSettings(
        version=__version__,
        log_driver=options.log_driver,
        host_ca=settings.host_ca,
        proxy_env=settings.proxy_env,
    )
    asyncio.run(serve(engine, api, listeners))
