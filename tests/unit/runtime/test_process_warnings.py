"""What of a process is left out, and said in a line for each kind."""

from __future__ import annotations

import pytest

from wherry.model.runtime_spec import Capabilities, Process
from wherry.runtime.plan.process import warnings


def process(*ambient: str, able: tuple[str, ...] = ()) -> Process:
    capabilities = Capabilities(permitted=able, inheritable=able, ambient=ambient)
    return Process(args=("true",), cwd="/", capabilities=capabilities)


@pytest.mark.parametrize(
    ("ambient", "told"),
    [
        (("CAP_KILL",), []),
        (("CAP_KILL", "CAP_CHOWN"), ["capability CAP_CHOWN: it is not permitted"]),
        (("CAP_CHOWN", "CAP_SETUID"), ["capabilities CAP_CHOWN, CAP_SETUID: they are not"]),
    ],
)
def test_ambient_capabilities_that_cannot_be(ambient: tuple[str, ...], told: list[str]) -> None:
    found = list(warnings(process(*ambient, able=("CAP_KILL",))))
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))
