"""Which tests run beside others when there are two processes of them.

``./test.sh`` starts two (``-n 2 --dist loadgroup``). One runs, one after the other, all tests that
look at what the whole machine has or hold it busy; the other takes the files that do neither, and
so does the first when it is done.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling

_APART = ("architecture", "conformance", "faults", "property", "unit")
"""Folders whose files may run beside any test. Those of ``conformance`` and ``faults`` start things
with roots and names of their own, and look at nothing else."""


class TwoProcesses(LoadScopeScheduling):
    """A unit of work is a file that may run beside others, or all that may not."""

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return nodeid.partition("::")[0] if folder in _APART else "the machine"
