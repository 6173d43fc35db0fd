"""When the packet filter's table needs to be put back."""

from __future__ import annotations

import pytest

from wherry.network.rules_watch import needs_repair
from wherry.sys.netlink.nft_events import Change

OURS, THEIRS = 100, 200


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ([("t", THEIRS)], True),
        ([("t", OURS)], False),
        ([("other", THEIRS)], False),
        ([("t", THEIRS), ("t", OURS)], False),
        ([("t", THEIRS), ("t", OURS), ("other", THEIRS)], False),
        ([("t", OURS), ("t", THEIRS)], True),
        ([("", 0)], True),
        ([("", 0), ("t", OURS)], True),  # what was missed may have come after it
    ],
)
def test_the_last_who_changed_the_table_decides(
    changes: list[tuple[str, int]], needed: bool
) -> None:
    told = [Change(table, port) for table, port in changes]
    assert needs_repair(told, "t", OURS) is needed
