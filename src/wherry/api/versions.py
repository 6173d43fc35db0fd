"""The versions of the Engine API that are served."""

from __future__ import annotations

from wherry.errors import InvalidArgument

Version = tuple[int, int]

MINIMUM: Version = (1, 24)
MAXIMUM: Version = (1, 51)


def spelled(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def served(version: Version) -> Version:
    """The version itself; InvalidArgument in Docker's words if it is not served."""
    if version > MAXIMUM:
        raise InvalidArgument(
            f"client version {spelled(version)} is too new."
            f" Maximum supported API version is {spelled(MAXIMUM)}"
        )
    if version < MINIMUM:
        raise InvalidArgument(
            f"client version {spelled(version)} is too old. Minimum supported API version is"
            f" {spelled(MINIMUM)}, please upgrade your client to a newer version"
        )
    return version
