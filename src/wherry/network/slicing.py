"""What a request for a macvlan or ipvlan network means. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from wherry.errors import InvalidArgument

Kind = Literal["macvlan", "ipvlan"]

OPTION_PARENT = "parent"
_OPTION_MODE = {"macvlan": "macvlan_mode", "ipvlan": "ipvlan_mode"}
_OPTION_FLAG = "ipvlan_flag"
_MODES = {"macvlan": ("bridge", "private", "vepa", "passthru"), "ipvlan": ("l2", "l3", "l3s")}
_FLAGS = ("bridge", "private", "vepa")
_INTERFACE_LIMIT = 15  # bytes, IFNAMSIZ without the final zero
_VLAN = re.compile(r"(.+)\.(\d{1,4})")
_HIGHEST_VLAN = 4094  # IEEE 802.1Q


class SliceOptions(msgspec.Struct, frozen=True):
    """The options of a network of slices, typed. ``parent`` empty: a link that leads nowhere."""

    kind: Kind
    parent: str
    mode: str
    flag: str

    @property
    def routes(self) -> bool:
        """Whether the host's routing, not the wire, joins the slices: there are no neighbours, and
        thus no gateway to ask for."""
        return self.mode in ("l3", "l3s")


def parse_slice_options(kind: Kind, options: Mapping[str, str]) -> SliceOptions:
    """InvalidArgument for a value that makes no sense. Unknown options have no effect."""
    parent = options.get(OPTION_PARENT, "")
    if parent and not _is_interface(parent):
        raise InvalidArgument(f"invalid parent {parent!r}: no name for an interface")
    return SliceOptions(
        kind=kind,
        parent=parent,
        mode=_one_of(options, _OPTION_MODE[kind], _MODES[kind]),
        flag=_one_of(options, _OPTION_FLAG, _FLAGS),
    )


def _is_interface(name: str) -> bool:
    unfit = "/" in name or any(char.isspace() for char in name) or name in (".", "..")
    return not unfit and len(name.encode()) <= _INTERFACE_LIMIT


def _one_of(options: Mapping[str, str], key: str, choices: tuple[str, ...]) -> str:
    """The first is the default."""
    value = options.get(key, "") or choices[0]
    if value not in choices:
        raise InvalidArgument(f"invalid network option {key}={value}: want {', '.join(choices)}")
    return value


def vlan_of(name: str) -> tuple[str, int] | None:
    """Parent and number that the name of a VLAN's link (``eth0.10``) tells; None if it is none."""
    found = _VLAN.fullmatch(name)
    if found is None or not 0 < int(found[2]) <= _HIGHEST_VLAN:
        return None
    return found[1], int(found[2])
