"""Whether the kernel is one that containers can be made on (docs/kernels.md)."""

from __future__ import annotations

import errno
import os

from wherry.engine.spec import host_facts
from wherry.errors import NotSupported
from wherry.model.users import UserMap
from wherry.sys import mount

_MAPPED_LAYERS = (5, 19)


def check_users(users: UserMap | None) -> None:
    """NotSupported if the layers of images cannot be given to users that are not the host's."""
    if users is not None and host_facts().kernel < _MAPPED_LAYERS:
        raise NotSupported(
            f"--userns-remap needs Linux 5.19 or later: overlayfs of this kernel "
            f"({os.uname().release}) takes no id-mapped layers"
        )


def check_kernel() -> None:
    """NotSupported if it lacks the newest of the calls that every container needs.

    The call is tried, because a kernel may have it by another version's number, and a sandbox may
    refuse it.
    """
    try:
        mount.mount_setattr(-1, "", mount.AT_EMPTY_PATH, attr_set=mount.MOUNT_ATTR_RDONLY)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise NotSupported(
                f"this kernel ({os.uname().release}) lacks mount_setattr(2): Wherry needs Linux "
                "5.12 or later"
            ) from None
