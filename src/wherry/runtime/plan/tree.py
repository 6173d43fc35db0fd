"""The part of a plan that builds the container's files: mounts, devices, sysctls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.runtime_spec import (
    LAYER_OPTION,
    SUBDIRECTORY_OPTION,
    Hook,
    Hooks,
    Linux,
    LinuxDevice,
    Mount,
    Process,
    Spec,
    State,
)
from wherry.runtime.ops.base import Op
from wherry.runtime.ops.cgroups import MountCgroups
from wherry.runtime.ops.devices import MakeDevice, MakeLink
from wherry.runtime.ops.kernel import AwaitHooks, CheckLabel, SetNames, WriteSysctl
from wherry.runtime.ops.mounts import (
    BindMount,
    FinishRoot,
    MakeMountsSlave,
    MakePlacePrivate,
    MaskPath,
    MountFilesystem,
    MountRoot,
    PivotRoot,
    ReadOnlyPath,
    Remount,
)
from wherry.runtime.ops.program import MakeWorkingDirectory
from wherry.runtime.plan.mount_options import Options, parse_options, propagation_flags
from wherry.runtime.plan.namespaces import Namespaces
from wherry.sys.mount import MOUNT_ATTR_RDONLY

if TYPE_CHECKING:
    from wherry.snapshot.api import OverlayMount

# config-linux.md, section "Default Devices": (path, major, minor)
_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
)
_IPC_SYSCTLS = frozenset(
    "kernel/" + name
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shmall",
        "shmmax",
        "shmmni",
        "shm_rmid_forced",
    )
)


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """What the files of a container depend on besides its configuration. ``join`` enters its
    control group, which is left until the groups are to be mounted."""

    bundle: str
    rootfs: OverlayMount | None
    names: Namespaces
    join: tuple[Op, ...]
    unified: bool
    state: State
    console_size: tuple[int, int] | None = None
    plain_terminal: bool = False
    no_pivot: bool = False


def tree_ops(spec: Spec, linux: Linux, tree: Tree) -> Iterator[Op]:
    """Everything between the new namespaces and the new root."""
    if spec.process is None or spec.root is None:
        return
    if linux.mount_label:
        yield CheckLabel(linux.mount_label)
    if spec.hostname or spec.domainname:
        if not tree.names.made_or_joined("uts"):
            raise InvalidArgument("a host name needs a UTS namespace of the container's own")
        yield SetNames(spec.hostname, spec.domainname)
    propagation = _root_propagation(linux.rootfs_propagation)
    yield from _root_ops(os.path.join(tree.bundle, spec.root.path), propagation, linux, tree)
    apart = tree.names.made_or_joined("cgroup")
    mounts = labelled(mapped(spec.mounts, linux), linux.mount_label)
    plain, cgroups = mount_ops(mounts, tree.bundle, apart, tree.unified)
    yield from plain
    yield from device_ops(spec, linux)
    yield from console_ops(spec.process, tree.console_size, bind=True, plain=tree.plain_terminal)
    yield from sysctl_ops(linux)
    yield from finish_dev(spec.mounts)
    yield from (MaskPath(path) for path in dict.fromkeys(linux.masked_paths))
    yield from (ReadOnlyPath(path) for path in linux.readonly_paths)
    yield from tree.join
    yield from cgroups
    hooks = spec.hooks or Hooks()
    if hooks.prestart or hooks.create_runtime:
        yield AwaitHooks()
    if hooks.create_container:
        from wherry.runtime.ops.place import GoToRoot  # few containers have hooks

        yield GoToRoot()
    yield from hook_ops(hooks.create_container, tree.state, "creating", "createContainer")
    yield _entering_op(tree)
    if spec.process.cwd != "/":
        yield MakeWorkingDirectory(spec.process.cwd)  # in a root that is to be read-only, too
    if spec.root.readonly or propagation:
        yield FinishRoot(spec.root.readonly, propagation)


def _root_ops(root: str, propagation: int, linux: Linux, tree: Tree) -> Iterator[Op]:
    """Mount the root, out of the host's sight unless the mount namespace is shared with others."""
    if not tree.names.own_mounts:
        from wherry.runtime.ops.shared_root import MountSharedRoot  # few share it

        yield MountSharedRoot(root, tree.rootfs)
        return
    yield MakeMountsSlave(propagation if propagation & _SHARING else _SLAVE)
    mapped_root = tree.names.users and tree.rootfs is not None
    if propagation & _SHARING:
        yield MakePlacePrivate("/" if mapped_root else root)
    if mapped_root and tree.rootfs is not None:
        from wherry.runtime.ops.mapped_root import MountMappedRoot  # few engines map users

        yield MountMappedRoot(tree.rootfs, linux.uid_mappings, linux.gid_mappings)
    else:
        yield MountRoot(root, tree.rootfs)


def _entering_op(tree: Tree) -> Op:
    if not tree.names.own_mounts:
        from wherry.runtime.ops.shared_root import ChangeRoot  # few share it

        return ChangeRoot()
    if tree.no_pivot:
        from wherry.runtime.ops.moved_root import MoveRoot  # few ask for it

        return MoveRoot()
    return PivotRoot()


_SLAVE = propagation_flags("rslave")
_SHARING = propagation_flags("shared") | propagation_flags("private")


def _root_propagation(name: str) -> int:
    if not name:
        return 0
    try:
        return propagation_flags(name)
    except KeyError:
        raise InvalidArgument(f"unknown rootfsPropagation {name!r}") from None


def hook_ops(hooks: tuple[Hook, ...], state: State, status: str, kind: str) -> tuple[Op, ...]:
    if not hooks:
        return ()
    from wherry.runtime.hooks import RunHooks  # few containers have hooks

    return (RunHooks(hooks, msgspec.structs.replace(state, status=status), kind),)


def mount_ops(
    mounts: Sequence[Mount], bundle: str, namespaced: bool, unified: bool
) -> tuple[list[Op], list[Op]]:
    """The mounts in their order; and, apart, those of control groups with what is mounted below
    them, so that the rest of the set-up need not wait for the group."""
    plain: list[Op] = []
    deferred: list[Op] = []
    groups: list[str] = []
    for mount in mounts:
        op = _mount_op(mount, bundle, namespaced, unified)
        if isinstance(op, MountCgroups):
            groups.append(op.target.rstrip("/") + "/")
        below = _clean(mount.destination).startswith(tuple(groups))
        (deferred if isinstance(op, MountCgroups) or below else plain).append(op)
    return plain, deferred


def mapped(mounts: Sequence[Mount], linux: Linux) -> tuple[Mount, ...]:
    """The mounts, with the container's own mappings where one is to be id-mapped without saying
    how (config.md, section "Linux mount options", ``idmap``)."""
    return tuple(
        msgspec.structs.replace(
            one, uid_mappings=linux.uid_mappings, gid_mappings=linux.gid_mappings
        )
        if not one.uid_mappings and not one.gid_mappings and parse_options(one.options).idmap
        else one
        for one in mounts
    )


# Those whose files have no labels of their own on a disk.
_LABELLED = frozenset({"tmpfs", "devpts"})


def labelled(mounts: Sequence[Mount], label: str) -> tuple[Mount, ...]:
    """The mounts with the label that config-linux.md, section "Mount Label", wants for their files.

    mount(8), "context=": in quotes, because of the commas of its categories.
    """
    if not label:
        return tuple(mounts)
    return tuple(
        msgspec.structs.replace(one, options=(*one.options, f'context="{label}"'))
        if one.type in _LABELLED
        else one
        for one in mounts
    )


def _clean(path: str) -> str:
    return os.path.normpath("/" + path.lstrip("/"))


def _mount_op(mount: Mount, bundle: str, namespaced: bool, unified: bool) -> Op:
    options = parse_options(mount.options)
    target = _clean(mount.destination)
    if target == "/":
        raise InvalidArgument("nothing can be mounted on the container's root itself")
    if options.remount:
        return Remount(target, options)
    if options.bind or mount.type == "bind":
        return _bind_op(mount, target, options, bundle)
    if mount.type in ("cgroup", "cgroup2"):
        return MountCgroups(target, options, unified, namespaced)
    layers = _values(mount, LAYER_OPTION)
    if mount.type == "overlay" and layers:
        return _layers_op(mount, layers, target)
    if not mount.type:
        raise InvalidArgument(f"the mount on {target} has no type")
    if target == "/dev" and mount.type == "tmpfs":
        options = msgspec.structs.replace(options, attr_set=options.attr_set & ~MOUNT_ATTR_RDONLY)
    # procfs and sysfs must be where their names say: what masks them relies on it.
    follow = mount.type not in ("proc", "sysfs")
    return MountFilesystem(mount.type, mount.source or mount.type, target, options, follow)


def _layers_op(mount: Mount, layers: tuple[str, ...], target: str) -> Op:
    if not mount.uid_mappings:
        from wherry.runtime.ops.images import MountLayers  # few containers have images mounted

        return MountLayers(layers, target, _subdirectory(mount))
    from wherry.runtime.ops.mapped_root import MountMappedLayers  # few engines map users

    return MountMappedLayers(
        layers, target, mount.uid_mappings, mount.gid_mappings, _subdirectory(mount)
    )


def finish_dev(mounts: Sequence[Mount]) -> Iterator[Op]:
    """Make /dev read-only, if it is to be, when everything is in it."""
    for mount in mounts:
        options = parse_options(mount.options)
        read_only = options.attr_set & MOUNT_ATTR_RDONLY
        if _clean(mount.destination) == "/dev" and mount.type == "tmpfs" and read_only:
            yield Remount("/dev", Options(attr_set=MOUNT_ATTR_RDONLY))


def _bind_op(mount: Mount, target: str, options: Options, bundle: str) -> Op:
    if not mount.source:
        raise InvalidArgument(f"the bind mount on {target} has no source")
    uids, gids = mount.uid_mappings, mount.gid_mappings
    if (options.idmap or uids or gids) and not (uids and gids):
        raise InvalidArgument(f"the id-mapped mount on {target} has no uidMappings or gidMappings")
    source = os.path.join(bundle, mount.source)
    return BindMount(source, target, options, uids, gids, _subdirectory(mount))


def _values(mount: Mount, name: str) -> tuple[str, ...]:
    """The values of an option that may be there several times."""
    return tuple(o.removeprefix(name) for o in mount.options if o.startswith(name))


def _subdirectory(mount: Mount) -> str:
    return next(iter(_values(mount, SUBDIRECTORY_OPTION)), "")


def device_ops(spec: Spec, linux: Linux) -> Iterator[Op]:
    """The devices asked for, the default ones and the links; none if /dev is the host's."""
    bound = any(
        _clean(mount.destination) == "/dev" and parse_options(mount.options).bind
        for mount in spec.mounts
    )
    if bound:
        return
    listed = {device.path: _device_op(device) for device in linux.devices}
    for path, major, minor in _DEVICES:
        listed.setdefault(path, MakeDevice(path, "c", major, minor, 0o666, 0, 0))
    yield from listed.values()
    for path, target in _LINKS:
        if path != "/dev/core" or os.path.exists("/proc/kcore"):
            yield MakeLink(path, target)


def _device_op(device: LinuxDevice) -> Op:
    if device.type not in ("c", "u", "b", "p"):
        raise InvalidArgument(f"the device {device.path} has the unknown type {device.type!r}")
    path = _clean(device.path)
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    return MakeDevice(
        path, device.type, device.major, device.minor, mode, device.uid or 0, device.gid or 0
    )


def console_ops(
    process: Process, size: tuple[int, int] | None, *, bind: bool, plain: bool = False
) -> Iterator[Op]:
    """A terminal, if the process wants one; a ``plain`` one adds no carriage returns."""
    if not process.terminal:
        return
    if size is None and process.console_size is not None:
        size = (process.console_size.height, process.console_size.width)
    from wherry.runtime.ops.console import OpenConsole  # few ask for a terminal

    yield OpenConsole(size, bind, plain)


def sysctl_ops(linux: Linux) -> Iterator[Op]:
    """Kernel parameters, only such as belong to a namespace of the container's own."""
    owned: set[str] = {one.type for one in linux.namespaces}
    for name, value in linux.sysctl.items():
        path = name.replace(".", "/") if "/" not in name else name
        if ".." in path.split("/") or path.startswith("/"):
            raise InvalidArgument(f"the sysctl name {name!r} is malformed")
        if not _is_namespaced(path, owned):
            raise InvalidArgument(f"sysctl {name!r} is not in a separate kernel namespace")
        yield WriteSysctl(path, value)


def _is_namespaced(path: str, owned: set[str]) -> bool:
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc" in owned
    if path.startswith("net/"):
        return "network" in owned
    return path == "kernel/domainname" and "uts" in owned
