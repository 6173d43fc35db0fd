"""Facts about the engine and its host."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid

from wherry import __version__
from wherry.cgroup.api import Cgroups
from wherry.engine.containers.runtimes import OWN
from wherry.engine.events import Events
from wherry.engine.host import apparmor, selinux
from wherry.engine.settings import EngineSettings
from wherry.engine.spec import host_facts
from wherry.engine.system_api import SystemInfo
from wherry.engine.table import ContainerTable
from wherry.store.api import Images
from wherry.store.database import Database

_SCHEMA = ["CREATE TABLE engine (id TEXT NOT NULL)"]


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Go's names of what uname(2) says."""


class System:
    """Implements ``engine.system_api.SystemApi``."""

    def __init__(
        self,
        settings: EngineSettings,
        db: Database,
        table: ContainerTable,
        images: Images,
        cgroups: Cgroups,
        events: Events,
    ) -> None:
        self._settings = settings
        self._table = table
        self._images = images
        self._cgroups = cgroups
        self._events = events
        self._id = _engine_id(db)
        self._started_ns = time.time_ns()

    def info(self) -> SystemInfo:
        states = [entry.record.state.status for entry in self._table]
        running, paused = states.count("running"), states.count("paused")
        kernel = os.uname()
        proxies = self._settings.proxy_env
        return SystemInfo(
            id=self._id,
            name=socket.gethostname(),
            version=__version__,
            data_root=self._settings.data_root,
            cgroup_version="2" if self._cgroups.mode == "unified" else "1",
            cgroup_driver="systemd" if self._settings.systemd_cgroups else "cgroupfs",
            kernel_version=kernel.release,
            operating_system=_operating_system(),
            architecture=_ARCHITECTURES.get(kernel.machine, kernel.machine),
            cpus=len(os.sched_getaffinity(0)),
            memory=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            containers=len(states),
            running=running,
            paused=paused,
            stopped=len(states) - running - paused,
            images=len(self._images.list()),
            security_options=_security_options(self._settings),
            warnings=(*apparmor.warnings(host_facts()), *selinux.warnings(self._settings)),
            labels=self._settings.labels,
            http_proxy=proxies.get("HTTP_PROXY") or proxies.get("http_proxy", ""),
            https_proxy=proxies.get("HTTPS_PROXY") or proxies.get("https_proxy", ""),
            no_proxy=proxies.get("NO_PROXY") or proxies.get("no_proxy", ""),
            insecure_registries=self._settings.insecure_registries,
            registry_mirrors=self._settings.registry_mirrors,
            debug=self._settings.debug,
            started_ns=self._started_ns,
            default_runtime=self._settings.default_runtime,
            runtimes=(OWN, *self._settings.runtimes),
            live_restore=True,
            events_listeners=self._events.listeners,
            goroutines=threading.active_count(),
            file_descriptors=len(os.listdir("/proc/self/fd")),
        )


def _engine_id(db: Database) -> str:
    db.migrate("engine", _SCHEMA)
    rows = db.query("SELECT id FROM engine")
    if rows:
        return str(rows[0][0])
    engine_id = str(uuid.uuid4())
    db.execute("INSERT INTO engine (id) VALUES (?)", engine_id)
    return engine_id


def _operating_system() -> str:
    """PRETTY_NAME of os-release(5)."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")
    return "Linux"


def _security_options(settings: EngineSettings) -> tuple[str, ...]:
    options = ["name=seccomp,profile=builtin", "name=cgroupns"]
    if host_facts().apparmor:
        options.insert(0, "name=apparmor")
    if settings.selinux and selinux.contexts_of() is not None:
        options.append("name=selinux")
    if settings.users is not None:
        options.append("name=userns")
    return tuple(options)
