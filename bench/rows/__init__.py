"""The rows of the table. A new one goes into a module here and into ``ROWS``."""

from __future__ import annotations

from bench.rows.api import ApiCycle, Burst, ExecCycle
from bench.rows.base import Row
from bench.rows.build import Build
from bench.rows.cold import ColdRuntime
from bench.rows.command import DockerRun, Exec, OwnRun
from bench.rows.copying import CopyFiles
from bench.rows.launch import Launch
from bench.rows.listing import Listing
from bench.rows.many import Growth, Removal, SpeakingMemory
from bench.rows.memory import EngineMemory, HelperMemory, WholeMemory
from bench.rows.network import PORT_LATENCY, PORT_THROUGHPUT, PublishedBurst, Restart
from bench.rows.streams import STREAM_ROWS

ROWS: tuple[Row, ...] = (
    DockerRun("docker-run", "docker run --rm, bridge", "bridge", target=0.25),
    DockerRun("docker-run-none", "docker run --rm, no network", "none"),
    OwnRun(),
    ApiCycle(),
    Exec(),
    ExecCycle(),
    Launch(),
    ColdRuntime("runtime-run", "wherry-runtime run, cold, of runc run", 1.3, filtered=False),
    ColdRuntime("runtime-run-filter", "the same with the default filter", 1.3, filtered=True),
    Burst(),
    PublishedBurst(),
    PORT_THROUGHPUT,
    PORT_LATENCY,
    Restart(),
    EngineMemory(),
    HelperMemory(),
    WholeMemory(),
    SpeakingMemory(),
    Removal(),
    Growth(),
    CopyFiles("cp-in", "archive of 5,000 files, in", out=False),
    CopyFiles("cp-out", "archive of 5,000 files, out", out=True),
    *STREAM_ROWS,
    Listing("list", standing=1000, running=0),
    Listing("list-running", standing=1000, running=100),
    Build("build", "flask build, no cache", cached=False),
    Build("build-cached", "flask build, cached", cached=True),
)
