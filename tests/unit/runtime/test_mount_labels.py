from __future__ import annotations

from wherry.model.runtime_spec import Mount
from wherry.runtime.plan.mount_options import parse_options
from wherry.runtime.plan.tree import labelled

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


def test_file_systems_without_a_disk_get_the_label() -> None:
    mounts = [
        Mount(destination="/tmp", type="tmpfs", options=("nosuid", "size=1m")),
        Mount(destination="/proc", type="proc"),
        Mount(destination="/data", type="bind", source="/x", options=("rbind",)),
    ]
    made = labelled(mounts, LABEL)
    assert parse_options(made[0].options).data == f'size=1m,context="{LABEL}"'
    assert made[1:] == tuple(mounts[1:])
    assert labelled(mounts, "") == tuple(mounts)
