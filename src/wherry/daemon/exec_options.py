"""``--exec-opt``: what dockerd's option of that name says about control groups."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.cgroup.scopes import SYSTEM_SLICE, slice_path
from wherry.daemon.options import BadOptions
from wherry.errors import InvalidArgument

_DRIVERS = ("cgroupfs", "systemd")
_KEY = "native.cgroupdriver"


def cgroup_driver(options: Iterable[str], parent: str) -> str:
    """The driver that ``native.cgroupdriver=`` names; BadOptions, also if ``parent`` (of
    ``--cgroup-parent``) is none for it."""
    driver = _DRIVERS[0]
    for text in options:
        key, equals, value = text.partition("=")
        if key.lower() != _KEY or not equals:
            raise BadOptions(f"the exec-opt {text!r} is not known: want {_KEY}=DRIVER")
        if value not in _DRIVERS:
            raise BadOptions(f"option '{_KEY}={value}' is invalid: want {' or '.join(_DRIVERS)}")
        driver = value
    _check_parent(driver, parent)
    return driver


def _check_parent(driver: str, parent: str) -> None:
    if driver == "systemd":
        try:
            slice_path(parent or SYSTEM_SLICE)
        except InvalidArgument as error:
            raise BadOptions(str(error)) from None
    elif parent and not parent.startswith("/"):
        raise BadOptions(f"cgroup parent must be an absolute path: {parent}")
