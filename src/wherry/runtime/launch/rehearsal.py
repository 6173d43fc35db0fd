"""Going through the code of a start beforehand, when there is time.

The launcher does so before it forks anything, so that the interpreter has adapted the code to what
it will see. Nothing is started here and nothing is left.
"""

from __future__ import annotations

import os

import msgspec

from wherry.model import docker_defaults as docker
from wherry.model.runtime_spec import (
    OCI_VERSION,
    Capabilities,
    Linux,
    LinuxNamespace,
    Mount,
    NamespaceType,
    Process,
    Rlimit,
    Root,
    Spec,
    User,
)
from wherry.runtime import state
from wherry.runtime.api import LogSettings
from wherry.runtime.documents import spec_decoder
from wherry.runtime.host import Host
from wherry.runtime.launch.outset import open_streams, process_decoder
from wherry.runtime.messages import Exec, Keep, Started, Taken, encode, to_launcher
from wherry.runtime.plan.planning import Plan, plan_container, plan_exec


def rehearse(host: Host) -> None:
    """Read, plan and write down a container and an exec that are never started."""
    spec, _ = rehearse_start(host)
    message = to_launcher.decode(_EXEC)
    if not isinstance(message, Exec):
        raise TypeError("the sample is no exec")
    plan = plan_exec(
        process_decoder.decode(message.request.process),
        spec,
        "sample",
        "/",
        cgroup="/sample",
        layout=host.layout,
        filters=host.filters,
    )
    _write_down(plan, host)


def rehearse_start(host: Host) -> tuple[Spec, Plan]:
    """Read and plan a container."""
    spec = spec_decoder.decode(_SPEC)
    layout, filters = host.layout, host.filters
    return spec, plan_container(spec, "sample", "/", rootfs=None, layout=layout, filters=filters)


def _write_down(plan: Plan, host: Host) -> None:
    """What is told of a process, and the descriptors that are opened for it."""
    pid = os.getpid()
    record = state.ProcessState(
        id=plan.id,
        pid=pid,
        start_time_ticks=state.start_time_ticks(pid) or 0,
        boot_id=host.boot_id,
        bundle=plan.bundle,
        cgroup=plan.cgroup,
        owns_cgroup=False,
        created_ns=0,
    )
    msgspec.json.decode(msgspec.json.encode(record), type=state.ProcessState)
    encode(Started(pid))
    encode(Taken(pid))
    encode(
        Keep(
            pid=pid,
            created_mountpoints=(),
            terminal=False,
            stdin=False,
            stdin_once=True,
            attach=True,
            attach_streams=(False, True, True),
            log=LogSettings(driver="none"),
            cgroup="",
            alone=False,
            poststop=(),
            state=plan.state,
        )
    )
    streams = open_streams(open_stdin=False)
    for fd in (*(streams.theirs or ()), *streams.outputs):
        os.close(fd)
    os.close(os.pidfd_open(pid))


_TEXTS = tuple(f"NAME_{number}=value" for number in range(400))
"""As many as the names of system calls in a usual filter."""

_BIND = Mount(destination="/data", type="bind", source="/", options=("rbind", "rprivate"))
_NAMESPACES: tuple[NamespaceType, ...] = ("mount", "pid", "ipc", "cgroup", "uts")
_SPEC = msgspec.json.encode(
    Spec(
        oci_version=OCI_VERSION,
        root=Root(path="rootfs"),
        hostname="sample",
        process=Process(
            cwd="/",
            args=("true",),
            env=_TEXTS,
            user=User(uid=1, gid=1),
            rlimits=(Rlimit(type="RLIMIT_CORE", soft=0, hard=0),),
            capabilities=Capabilities(bounding=("CAP_CHOWN",), permitted=("CAP_CHOWN",)),
        ),
        mounts=(
            *(docker.PROC, docker.DEV, docker.PTS, docker.SYS, docker.CGROUP, docker.MQUEUE),
            docker.shm(),
            _BIND,
        ),
        linux=Linux(
            namespaces=tuple(LinuxNamespace(type=kind) for kind in _NAMESPACES),
            masked_paths=docker.MASKED_PATHS,
            readonly_paths=docker.READONLY_PATHS,
        ),
    )
)

_EXEC = b"""{
  "type": "exec",
  "request": {
    "id": "sample", "container_id": "sample", "container_pid": 1,
    "container_state_dir": "/", "state_dir": "/", "attach": true,
    "process": {
      "cwd": "/", "args": ["true"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
      "capabilities": {"bounding": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}
    }
  }
}"""
