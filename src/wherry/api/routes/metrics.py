"""``GET /metrics``: figures in Prometheus' text format, version 0.0.4.

What dockerd measures has dockerd's names (``engine_daemon_...``), so that panels and alarms that
exist go on working; the rest is named ``wherry_...``. Containers are those that the client may see.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator, Mapping

from wherry.api.context import Context, Route
from wherry.api.http.message import Reply, Request
from wherry.api.requests import Figures, Histogram
from wherry.engine.api import EngineApi, StatsSample
from wherry.engine.records import Container
from wherry.engine.system_api import SystemInfo
from wherry.errors import WherryError

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NANO = 1_000_000_000
_ACTIONS = {
    "ContainerChanges": "changes",
    "ImageCommit": "commit",
    "ContainerCreate": "create",
    "ContainerDelete": "delete",
    "ContainerStart": "start",
}
"""Those that dockerd times, by operation."""

Labels = Mapping[str, str]


class Page:
    """Lines of one answer. A family's samples stand together, after what they are."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(
        self, name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]
    ) -> None:
        self._about(name, kind, about)
        self._lines += [_line(name, labels, value) for labels, value in samples]

    def histograms(self, name: str, about: str, found: Iterable[tuple[Labels, Histogram]]) -> None:
        self._about(name, "histogram", about)
        for labels, histogram in found:
            for bound, count in histogram.cumulative():
                self._lines.append(_line(f"{name}_bucket", {**labels, "le": bound}, count))
            self._lines.append(_line(f"{name}_sum", labels, histogram.total))
            self._lines.append(_line(f"{name}_count", labels, sum(histogram.counts)))

    def _about(self, name: str, kind: str, about: str) -> None:
        self._lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]

    def text(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def _line(name: str, labels: Labels, value: float) -> str:
    told = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = repr(value) if isinstance(value, float) else str(value)
    return f"{name}{{{told}}} {number}" if told else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


async def metrics(context: Context, request: Request, _: str) -> Reply:
    info = await context.quick(context.engine.system.info)
    samples = await context.slow(_samples, context.engine)
    page = Page()
    _engine(page, info, context.settings.version)
    _requests(page, context.figures)
    _states(page, context.engine.containers.list(running_only=False))
    _usage(page, samples)
    _process(page, info)
    return Reply(200, page.text(), _TYPE, context.headers)


# --- the engine --------------------------------------------------------------------------------


def _engine(page: Page, info: SystemInfo, version: str) -> None:
    about = {
        "version": version,
        "architecture": info.architecture,
        "kernel": info.kernel_version,
        "os": info.operating_system,
        "graphdriver": "overlayfs",
    }
    page.family("engine_daemon_engine_info", "gauge", "Versions, in the labels.", [(about, 1)])
    for name, text, value in (
        ("engine_daemon_engine_cpus_cpus", "Processors of the host.", info.cpus),
        ("engine_daemon_engine_memory_bytes", "Memory of the host.", info.memory),
        (
            "engine_daemon_events_subscribers_total",
            "Clients that follow events now.",
            info.events_listeners,
        ),
        ("wherry_images", "Images.", info.images),
    ):
        page.family(name, "gauge", text, [({}, value)])


def _requests(page: Page, figures: Figures) -> None:
    page.family(
        "wherry_http_requests_total",
        "counter",
        "Answers of the API.",
        (
            ({"method": method, "operation": operation, "status": str(status)}, count)
            for (method, operation, status), count in sorted(figures.requests.items())
        ),
    )
    page.family(
        "wherry_http_requests_in_progress",
        "gauge",
        "Requests that are being answered now, streams included.",
        [({}, figures.pending)],
    )
    page.histograms(
        "wherry_http_request_seconds",
        "Time until an answer was there; streams are not counted.",
        (({"operation": name}, found) for name, found in sorted(figures.seconds.items())),
    )
    page.histograms(
        "engine_daemon_container_actions_seconds",
        "Time that actions on containers took.",
        (
            ({"action": action}, figures.seconds[name])
            for name, action in _ACTIONS.items()
            if name in figures.seconds
        ),
    )


def _states(page: Page, containers: Iterable[Container]) -> None:
    counts = dict.fromkeys(("paused", "running", "stopped"), 0)
    health = dict.fromkeys(("starting", "healthy", "unhealthy"), 0)
    for container in containers:
        state = container.state
        kind = "paused" if state.status == "paused" else "running" if state.running else "stopped"
        counts[kind] += 1
        if state.running and state.health is not None:
            health[state.health.status] += 1
    page.family(
        "engine_daemon_container_states_containers",
        "gauge",
        "Containers by state.",
        (({"state": name}, count) for name, count in counts.items()),
    )
    page.family(
        "wherry_container_health_containers",
        "gauge",
        "Running containers that have a health check, by its state.",
        (({"health": name}, count) for name, count in health.items()),
    )


# --- containers --------------------------------------------------------------------------------

_Sample = tuple[dict[str, str], StatsSample]


def _samples(engine: EngineApi) -> list[_Sample]:
    found: list[_Sample] = []
    for container in engine.containers.list(running_only=True):
        try:
            sample = engine.containers.stats(container.id)
        except (WherryError, OSError):  # it has just ended
            continue
        if sample is not None:
            labels = {"id": container.id, "name": container.name, "image": container.image_name}
            found.append((labels, sample))
    return found


def _usage(page: Page, samples: list[_Sample]) -> None:
    page.family(
        "wherry_container_cpu_seconds_total",
        "counter",
        "Processor time of a container.",
        ((labels, s.group.cpu.usage_ns / _NANO) for labels, s in samples),
    )
    page.family(
        "wherry_container_memory_bytes",
        "gauge",
        "Memory of a container, with what the kernel keeps of its files.",
        ((labels, s.group.memory.usage) for labels, s in samples),
    )
    page.family(
        "wherry_container_memory_limit_bytes",
        "gauge",
        "What a container may use, at most the host's memory.",
        ((labels, s.memory_limit) for labels, s in samples),
    )
    page.family(
        "wherry_container_processes",
        "gauge",
        "Processes and threads of a container.",
        ((labels, s.group.pids.current) for labels, s in samples),
    )
    for way in ("rx", "tx"):
        name = "receive" if way == "rx" else "transmit"
        page.family(
            f"wherry_container_network_{name}_bytes_total",
            "counter",
            f"Bytes of each interface of a container, {name}.",
            _traffic(samples, way),
        )


def _traffic(samples: list[_Sample], way: str) -> Iterator[tuple[Labels, float]]:
    for labels, sample in samples:
        for interface, counters in sample.networks.items():
            yield {**labels, "interface": interface}, getattr(counters, f"{way}_bytes")


# --- this process ------------------------------------------------------------------------------


def _process(page: Page, info: SystemInfo) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    virtual, resident = _memory()
    page.family(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of the engine.",
        [({}, used.ru_utime + used.ru_stime)],
    )
    for name, text, value in (
        ("process_open_fds", "Open descriptors.", len(os.listdir("/proc/self/fd"))),
        ("process_max_fds", "The most there may be.", soft),
        ("process_virtual_memory_bytes", "Address space.", virtual),
        ("process_resident_memory_bytes", "Memory in use.", resident),
        ("process_threads", "Threads.", info.goroutines),
        ("process_start_time_seconds", "Start, since the epoch.", info.started_ns / _NANO),
    ):
        page.family(name, "gauge", text, [({}, value)])


def _memory() -> tuple[int, int]:
    """Bytes of address space and of memory (proc(5), ``statm``)."""
    with open("/proc/self/statm") as file:
        total, resident = file.read().split()[:2]
    size = os.sysconf("SC_PAGE_SIZE")
    return int(total) * size, int(resident) * size


ROUTES = (Route("GET", "/metrics", metrics),)
