"""``--volume``, ``--mount`` and ``--tmpfs``."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wherry.cli.options import UsageError
from wherry.cli.values import csv_fields, parse_bool, parse_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Mount = dict[str, Any]


def parse_volumes(texts: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Binds, and the anonymous volumes (``-v /path``) as the API's ``Volumes``."""
    binds: list[str] = []
    anonymous: dict[str, Any] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon:
            anonymous[_absolute(text, text)] = {}
            continue
        target = rest.partition(":")[0]
        _absolute(target, text)
        if source.startswith((".", "~")):
            source = os.path.abspath(os.path.expanduser(source))
        binds.append(f"{source}:{rest}")
    return binds, anonymous


def _absolute(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"invalid volume specification: '{text}': the target must be absolute")
    return path


def parse_tmpfs(texts: Iterable[str]) -> dict[str, str]:
    """``/path:options`` as path to options."""
    return {path: options for path, _, options in (text.partition(":") for text in texts)}


def parse_mount(text: str) -> Mount:
    """One ``--mount``; UsageError names the field that is wrong."""
    mount: Mount = {"Type": "volume"}
    for field in csv_fields(text):
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        setter = _FIELDS.get(name)
        if setter is None:
            raise UsageError(f"invalid argument {text!r} for --mount: unknown field {name!r}")
        if not equals and name not in _SWITCHES:
            raise UsageError(f"invalid argument {text!r} for --mount: {name} needs a value")
        setter(mount, value)
    if not mount.get("Target"):
        raise UsageError(f"invalid argument {text!r} for --mount: target is required")
    return _checked(mount, text)


def _checked(mount: Mount, text: str) -> Mount:
    kind = mount["Type"]
    for options, owner in _OWNERS.items():
        if options in mount and kind != owner:
            raise UsageError(f"cannot mix {options} with mount type {kind!r} in --mount {text}")
    if kind == "bind":
        if not mount.get("Source"):
            raise UsageError(f"invalid argument {text!r} for --mount: a bind needs a source")
        mount["Source"] = os.path.abspath(os.path.expanduser(mount["Source"]))
    return mount


_OWNERS = {
    "BindOptions": "bind",
    "VolumeOptions": "volume",
    "TmpfsOptions": "tmpfs",
    "ImageOptions": "image",
}


def _put(*path: str, convert: Callable[[str], object] = str) -> Callable[[Mount, str], None]:
    *parents, last = path

    def setter(mount: Mount, value: str) -> None:
        for parent in parents:
            mount = mount.setdefault(parent, {})
        mount[last] = convert(value)

    return setter


def _read_only(mount: Mount, value: str) -> None:
    mount["ReadOnly"] = parse_bool(value, "readonly")


def _label(mount: Mount, value: str) -> None:
    name, _, content = value.partition("=")
    mount.setdefault("VolumeOptions", {}).setdefault("Labels", {})[name] = content


def _driver_option(mount: Mount, value: str) -> None:
    name, _, content = value.partition("=")
    driver = mount.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
    driver.setdefault("Options", {})[name] = content


def _subpath(mount: Mount, value: str) -> None:
    options = "ImageOptions" if mount["Type"] == "image" else "VolumeOptions"
    mount.setdefault(options, {})["Subpath"] = value


def _recursive(mount: Mount, value: str) -> None:
    field = {
        "disabled": "NonRecursive",
        "writable": "ReadOnlyNonRecursive",
        "readonly": "ReadOnlyForceRecursive",
    }.get(value)
    if field:
        mount.setdefault("BindOptions", {})[field] = True
    elif value != "enabled":
        raise UsageError(f"invalid bind-recursive {value!r} in --mount")


def _flag(text: str) -> bool:
    return parse_bool(text, "a field of --mount")


def _octal(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise UsageError(f"invalid tmpfs-mode {text!r} in --mount: want an octal mode") from None


def _tmpfs_option(mount: Mount, value: str) -> None:
    name, equals, content = value.partition("=")
    options = mount.setdefault("TmpfsOptions", {}).setdefault("Options", [])
    options.append([name, content] if equals else [name])


_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src")
_FIELDS: dict[str, Callable[[Mount, str], None]] = {
    "type": _put("Type", convert=str.lower),
    "source": _put("Source"),
    "src": _put("Source"),
    "target": _put("Target"),
    "destination": _put("Target"),
    "dst": _put("Target"),
    "readonly": _read_only,
    "ro": _read_only,
    "consistency": _put("Consistency"),
    "bind-propagation": _put("BindOptions", "Propagation"),
    "bind-nonrecursive": _put("BindOptions", "NonRecursive", convert=_flag),
    "bind-recursive": _recursive,
    "bind-create-src": _put("BindOptions", "CreateMountpoint", convert=_flag),
    "bind-idmap": _put("BindOptions", "IDMap"),
    "volume-nocopy": _put("VolumeOptions", "NoCopy", convert=_flag),
    "volume-label": _label,
    "volume-driver": _put("VolumeOptions", "DriverConfig", "Name"),
    "volume-opt": _driver_option,
    "volume-subpath": _subpath,
    "image-subpath": _subpath,
    "tmpfs-size": _put("TmpfsOptions", "SizeBytes", convert=parse_size),
    "tmpfs-mode": _put("TmpfsOptions", "Mode", convert=_octal),
    "tmpfs-opt": _tmpfs_option,
}
