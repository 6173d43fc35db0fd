"""Which capabilities (capabilities(7)) a container's processes have."""

from __future__ import annotations

from collections.abc import Iterable

from wherry.engine.spec.facts import HostFacts
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig
from wherry.model.runtime_spec import Capabilities
from wherry.sys.caps import NUMBERS

DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
_ALL = "ALL"


def bounding_set(host: HostConfig, facts: HostFacts) -> tuple[str, ...]:
    """What a container's processes may ever have, of what the engine itself has.

    ``ALL`` may be added or dropped; a single capability that was added wins over ``ALL`` dropped,
    and one that was dropped wins over ``ALL`` added. InvalidArgument for unknown names.
    """
    if host.privileged:
        return facts.capabilities
    added = normalised(host.cap_add or (), "CapAdd")
    dropped = normalised(host.cap_drop or (), "CapDrop")
    if _ALL in added:
        chosen = set(facts.capabilities) - set(dropped)
    elif _ALL in dropped:
        chosen = set(added)
    else:
        chosen = (set(DEFAULT) | set(added)) - (set(dropped) - set(added))
    return tuple(name for name in facts.capabilities if name in chosen)


def normalised(names: Iterable[str], field: str) -> tuple[str, ...]:
    """Names in the form ``CAP_CHOWN``, or ``ALL``; InvalidArgument names an unknown one."""
    result = []
    for name in names:
        upper = name.upper()
        full = upper if upper == _ALL or upper.startswith("CAP_") else f"CAP_{upper}"
        if full != _ALL and full not in NUMBERS:
            raise InvalidArgument(f'invalid {field}: unknown capability: "{full}"')
        result.append(full)
    return tuple(result)


def process_capabilities(bounding: tuple[str, ...], uid: int) -> Capabilities:
    """Root has them all; another user has none, and gets some only by running a file that
    grants them."""
    if uid == 0:
        return Capabilities(bounding=bounding, effective=bounding, permitted=bounding)
    return Capabilities(bounding=bounding)
