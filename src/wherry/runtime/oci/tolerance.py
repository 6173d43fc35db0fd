"""What the configurations of other engines leave to a runtime, as they know it from runc."""

from __future__ import annotations

import os

import msgspec

from wherry.model.runtime_spec import LinuxDeviceCgroup, Mount, Spec

# config-linux.md, "Default Devices", and terminals; making nodes is harmless.
_ALWAYS_ALLOWED = (
    LinuxDeviceCgroup(allow=True, type="c", access="m"),
    LinuxDeviceCgroup(allow=True, type="b", access="m"),
    *(
        LinuxDeviceCgroup(allow=True, type="c", major=major, minor=minor, access="rwm")
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    ),
)


def with_default_devices(spec: Spec) -> Spec:
    """Let the devices that every container gets be used, whatever its rules: engines that call a
    runtime by its command line leave that to it."""
    if spec.linux is None or spec.linux.resources is None or not spec.linux.resources.devices:
        return spec
    resources = msgspec.structs.replace(
        spec.linux.resources, devices=(*spec.linux.resources.devices, *_ALWAYS_ALLOWED)
    )
    return msgspec.structs.replace(
        spec, linux=msgspec.structs.replace(spec.linux, resources=resources)
    )


def with_joined_users(spec: Spec, pid: int = 0) -> Spec:
    """Fill in the mappings of a user namespace that is joined by its path, or that the process
    ``pid`` is in already; InvalidArgument if the configuration says others."""
    linux = spec.linux
    if linux is None:
        return spec
    path = next((one.path for one in linux.namespaces if one.type == "user"), "")
    if not path:
        return spec
    from wherry.runtime.oci.joined_users import mappings_at, mappings_of, with_mappings  # few join

    found = mappings_of(pid) if pid else mappings_at(path)
    return msgspec.structs.replace(spec, linux=with_mappings(linux, found))


def kernel_memory(spec: Spec) -> tuple[Spec, tuple[str, ...]]:
    """Leave out a limit that kernels from 5.16 on do not have, with a warning."""
    linux = spec.linux
    if linux is None or linux.resources is None or linux.resources.memory is None:
        return spec, ()
    if linux.resources.memory.kernel is None:
        return spec, ()
    memory = msgspec.structs.replace(linux.resources.memory, kernel=None)
    resources = msgspec.structs.replace(linux.resources, memory=memory)
    changed = msgspec.structs.replace(linux, resources=resources)
    text = "the limit on kernel memory is ignored: kernels from 5.16 on have none"
    return msgspec.structs.replace(spec, linux=changed), (text,)


def ignored(spec: Spec) -> tuple[str, ...]:
    """Warnings about what the specification says that there is none of yet (config-linux.md,
    section "Personality", ``flags``)."""
    personality = spec.linux.personality if spec.linux is not None else None
    if personality is None or not personality.flags:
        return ()
    return (f"ignoring the personality's flags: {', '.join(personality.flags)}",)


def below_root(spec: Spec, bundle: str) -> Spec:
    """Take the path of the root file system off mount destinations that begin with it: some write
    where on the host a mount is to be."""
    if spec.root is None:
        return spec
    root = os.path.join(bundle, spec.root.path)
    roots = {os.path.normpath(root), os.path.realpath(root)} - {"/"}
    mounts = tuple(_taken_off(mount, roots) for mount in spec.mounts)
    return spec if mounts == spec.mounts else msgspec.structs.replace(spec, mounts=mounts)


def _taken_off(mount: Mount, roots: set[str]) -> Mount:
    for root in roots:
        if mount.destination.startswith(f"{root}/"):
            return msgspec.structs.replace(mount, destination=mount.destination[len(root) :])
    return mount
