"""SELinux on this host: whether it is there, what its policy says, and files' labels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from wherry.engine.records import Container, MountPoint
from wherry.engine.settings import EngineSettings
from wherry.engine.spec.security import parse_options
from wherry.engine.spec.selinux import (
    SHARED_LEVEL,
    Contexts,
    Labels,
    container_labels,
    donor,
    with_level,
)
from wherry.engine.table import ContainerTable
from wherry.errors import InternalError, InvalidArgument
from wherry.fs.attributes import proc_path
from wherry.fs.walk import walk

NOT_THERE = "WARNING: SELinux was asked for, but is not enabled on this host: containers go without"
_XATTR = "security.selinux"
_UNTOUCHED = frozenset(
    {
        *("/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt"),
        *("/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var"),
    }
)
"""Directories of the whole host's: with a container's label much of it would stop working."""


@cache
def contexts_of(root: str = "/") -> Contexts | None:
    """The policy's labels for containers; None where SELinux is not enabled.

    InternalError if the policy has none.
    """
    if not os.path.exists(os.path.join(root, "sys/fs/selinux/enforce")):
        return None
    etc = Path(root, "etc/selinux")
    policy = _values(etc / "config").get("SELINUXTYPE", "targeted")
    path = etc / policy / "contexts/lxc_contexts"
    found = _values(path)
    if not {"process", "file"} <= found.keys():
        raise InternalError(
            f"{path} names no labels for containers: install the policy for containers "
            "(container-selinux), or leave --selinux-enabled out"
        )
    return Contexts(process=found["process"], file=found["file"])


def _values(path: Path) -> dict[str, str]:
    """``KEY = "value"`` lines; none if there is no such file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {key.strip(): value.strip().strip('"') for key, mark, value in pairs if mark}


def warnings(settings: EngineSettings) -> tuple[str, ...]:
    return (NOT_THERE,) if settings.selinux and contexts_of() is None else ()


def labels_of(settings: EngineSettings, record: Container, table: ContainerTable) -> Labels:
    """The labels that a container has at its next start."""
    if not settings.selinux:
        return Labels()
    shared = donor(record.host)
    return container_labels(
        contexts_of(),
        parse_options(record.host.security_opt or ()).labels,
        record.host,
        table.find(shared).id if shared else record.id,
    )


def relabel_mounts(mounts: Sequence[MountPoint], label: str) -> None:
    """Give what is mounted with ``z`` or ``Z`` the container's label: ``z`` without the categories
    that keep other containers out. InvalidArgument for directories of the host's own."""
    for mount in mounts if label else ():
        shared, private = (flag in mount.mode.split(",") for flag in "zZ")
        if mount.source and (shared or private):
            relabel(mount.source, label if private else with_level(label, SHARED_LEVEL))


def relabel(path: str, label: str) -> None:
    """Set the label of a file, or of a directory and all in it. No link is followed."""
    if os.path.realpath(path) in _UNTOUCHED:
        raise InvalidArgument(f"SELinux relabeling of {path} is not allowed")
    value = label.encode() + b"\0"
    for name in _files(path):
        try:
            os.setxattr(name, _XATTR, value, follow_symlinks=False)
        except FileNotFoundError:
            pass  # it was removed meanwhile


def _files(path: str) -> Iterator[str]:
    yield path
    if not os.path.isdir(path):
        return
    top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for node in walk(top):
            yield proc_path(node.dir_fd, node.name)
    finally:
        os.close(top)
