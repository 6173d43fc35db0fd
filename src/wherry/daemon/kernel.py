"""Whether the kernel is one that containers can be made on (docs/kernels.md)."""

from __future__ import annotations

import errno
import os

from wherry.errors import NotSupported
from wherry.sys import mount


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
