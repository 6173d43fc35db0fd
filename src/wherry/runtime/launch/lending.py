"""What only the host's root may raise, raised by a parent for its child to inherit: the root of a
user namespace may not."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable

from wherry.runtime.ops.base import Op
from wherry.runtime.ops.kernel import SetOomScore, SetRlimit

_OOM_SCORE = "/proc/self/oom_score_adj"


def lend(ops: Iterable[Op]) -> int | None:
    """Take the hard limits and the OOM score that a child's operations will want, as far as this
    process may: the child says what it misses. The score before, if that was changed."""
    before = None
    for op in ops:
        if isinstance(op, SetRlimit):
            _raise_limit(op.number, op.hard)
        elif isinstance(op, SetOomScore):
            before = _exchange_score(op.value)
    return before


def give_back(score: int) -> None:
    """Have the score from before again; raised hard limits do no harm."""
    _exchange_score(score)


def _raise_limit(number: int, hard: int) -> None:
    soft, present = resource.getrlimit(number)
    if present != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or hard > present):
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, OSError):
            pass


def _exchange_score(value: int) -> int | None:
    try:
        fd = os.open(_OOM_SCORE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        before = int(os.read(fd, 16))
        os.write(fd, str(value).encode())
        return before
    except OSError:
        return None
    finally:
        os.close(fd)
