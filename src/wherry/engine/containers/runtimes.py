"""Which program makes a container: our own code, or another OCI runtime that was configured."""

from __future__ import annotations

import os

from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.errors import InvalidArgument, NotSupported
from wherry.runtime.api import ExternalRuntime

OWN = "wherry"
_ALIASES = ("", OWN, "runc", "io.containerd.runc.v2")
"""Names of our own; clients write the others because dockerd's default has these names."""


def check_runtime(settings: EngineSettings, name: str) -> None:
    """InvalidArgument for a name that is not known."""
    if name not in settings.runtimes and name not in _ALIASES:
        raise InvalidArgument(f"unknown or invalid runtime name: {name}")


def check_mounts(settings: EngineSettings, record: Container) -> None:
    """NotSupported for mounts that only our own code can make: others take no notice of the option
    that names a part, and would show all of the volume, or all of the granted directory."""
    if external_runtime(settings, record) is None:
        return
    for mount in record.mounts:
        if mount.looked_up[1] or mount.type == "image":
            raise NotSupported(
                f"the mount at {mount.destination} is an image, a part of a volume or of a granted "
                f"directory, which the runtime {record.host.runtime} cannot mount: use the runtime "
                f"{OWN}"
            )


def external_runtime(settings: EngineSettings, record: Container) -> ExternalRuntime | None:
    """The other runtime of a container; None if ours makes it. InvalidArgument for one that is not
    configured any more."""
    name = record.host.runtime or ""
    check_runtime(settings, name)
    command = settings.runtimes.get(name)
    if command is None:
        return None
    if settings.systemd_cgroups:
        command = (*command, "--systemd-cgroup")
    return ExternalRuntime(
        command=command, root=os.path.join(settings.runtime_dir(record.id), "oci")
    )
