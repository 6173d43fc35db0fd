"""What ``state`` and ``list`` tell of containers."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Iterator

import msgspec

from wherry.runtime import state
from wherry.runtime.oci.container import Container, is_id


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is printed, as by runc: ``created`` in UTC."""

    oci_version: str
    id: str
    pid: int
    status: str
    bundle: str
    rootfs: str
    created: str
    annotations: dict[str, str]
    owner: str


def told(container: Container) -> Told:
    """The state and more."""
    state, record = container.state(), container.record()
    spec = container.spec_if_there()
    root = spec.root.path if spec is not None and spec.root is not None else ""
    return Told(
        oci_version=state.oci_version,
        id=container.id,
        pid=state.pid,
        status=state.status,
        bundle=state.bundle,
        rootfs=os.path.join(record.bundle, root),
        created=_when(record.created_ns),
        annotations=state.annotations,
        owner=_name_of(os.stat(container.directory).st_uid),
    )


def _when(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def containers(root: str) -> Iterator[Container]:
    """All containers below a root directory."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        if is_id(name) and state.read_state(os.path.join(root, name)) is not None:
            yield Container(root, name)
