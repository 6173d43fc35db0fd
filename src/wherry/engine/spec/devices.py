"""Device nodes in a container, and which devices its control group lets it use."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator

import msgspec

from wherry.errors import InvalidArgument
from wherry.model.container import DeviceMapping, HostConfig
from wherry.model.runtime_spec import LinuxDevice, LinuxDeviceCgroup

_ALL = "rwm"
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")

# Not devices of the host but places for file systems and nodes of the container's own.
_SKIPPED = frozenset({"pts", "shm", "fd", "mqueue", "console", ".udev", ".lxc", ".lxd-mounts"})


def _character(major: int, minor: int | None) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(allow=True, type="c", major=major, minor=minor, access=_ALL)


# Every node may be made, few may be used: null, zero, full, random, urandom, tty, console, ptmx
# and the terminals.
DEFAULT_RULES = (
    LinuxDeviceCgroup(allow=False, access=_ALL),
    LinuxDeviceCgroup(allow=True, type="c", access="m"),
    LinuxDeviceCgroup(allow=True, type="b", access="m"),
    *(_character(1, minor) for minor in (3, 5, 7, 8, 9)),
    *(_character(5, minor) for minor in (0, 1, 2)),
    _character(136, None),
)
_EVERYTHING = (LinuxDeviceCgroup(allow=True, access=_ALL),)


class ResolvedDevices(msgspec.Struct, frozen=True, kw_only=True):
    """Device nodes to make, rules of access in order, and the numbers of the block devices that
    limits name by path."""

    nodes: tuple[LinuxDevice, ...] = ()
    rules: tuple[LinuxDeviceCgroup, ...] = DEFAULT_RULES
    numbers: dict[str, tuple[int, int]] = {}


def resolve_devices(host: HostConfig) -> ResolvedDevices:
    """Look at the host's devices that a container asks for; InvalidArgument names one that is
    none."""
    numbers = {path: _block_number(path) for path in _limited_paths(host)}
    if host.privileged:
        nodes = tuple(_nodes_below("/dev", "/dev"))
        return ResolvedDevices(nodes=nodes, rules=_EVERYTHING, numbers=numbers)
    nodes_, rules = [], list(DEFAULT_RULES)
    for mapping in host.devices or ():
        for node in _mapped(mapping):
            nodes_.append(node)
            rules.append(_rule_for(node, mapping.cgroup_permissions or _ALL))
    rules += [parse_rule(text) for text in host.device_cgroup_rules or ()]
    return ResolvedDevices(nodes=tuple(nodes_), rules=tuple(rules), numbers=numbers)


def _limited_paths(host: HostConfig) -> Iterator[str]:
    for weight in host.blkio_weight_device or ():
        yield weight.path
    for throttles in (
        host.blkio_device_read_bps,
        host.blkio_device_write_bps,
        host.blkio_device_read_iops,
        host.blkio_device_write_iops,
    ):
        yield from (throttle.path for throttle in throttles or ())


def _block_number(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"cannot limit device {path}: {error.strerror}") from error
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidArgument(f"cannot limit device {path}: it is not a block device")
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def _mapped(mapping: DeviceMapping) -> Iterable[LinuxDevice]:
    """The device, or all devices in a directory. A link is followed, as ``/dev/cdrom`` is one."""
    source = os.path.realpath(mapping.path_on_host)
    target = mapping.path_in_container or mapping.path_on_host
    if not set(mapping.cgroup_permissions) <= set(_ALL):
        raise InvalidArgument(f"invalid device mode: {mapping.cgroup_permissions}")
    node = _node(source, target)
    nodes = [node] if node else list(_nodes_below(source, target))
    if not nodes:
        raise InvalidArgument(
            "error gathering device information while adding custom device "
            f'"{mapping.path_on_host}": not a device node'
        )
    return nodes


def _node(source: str, target: str) -> LinuxDevice | None:
    try:
        status = os.stat(source, follow_symlinks=False)
    except OSError as error:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "{source}": '
            f"{(error.strerror or '').lower()}"
        ) from error
    return _as_node(status, target)


def _as_node(status: os.stat_result, target: str) -> LinuxDevice | None:
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return LinuxDevice(
        type=kind,
        path=target,
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        file_mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )


def _nodes_below(source: str, target: str) -> Iterator[LinuxDevice]:
    """All devices in a directory; what vanishes meanwhile is no device."""
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name in _SKIPPED:
            continue
        path = f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _nodes_below(entry.path, path)
            continue
        with contextlib.suppress(FileNotFoundError):
            node = _as_node(entry.stat(follow_symlinks=False), path)
            if node:
                yield node


def _rule_for(node: LinuxDevice, access: str) -> LinuxDeviceCgroup:
    return LinuxDeviceCgroup(
        allow=True, type=node.type, major=node.major, minor=node.minor, access=access
    )


def parse_rule(text: str) -> LinuxDeviceCgroup:
    """``c 10:229 rwm`` of ``--device-cgroup-rule``; InvalidArgument."""
    match = _RULE.fullmatch(text)
    if not match:
        raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
    kind, major, minor, access = match.groups()
    return LinuxDeviceCgroup(
        allow=True,
        type=kind,
        major=None if major == "*" else int(major),
        minor=None if minor == "*" else int(minor),
        access=access,
    )
