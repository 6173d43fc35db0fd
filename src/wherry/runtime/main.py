"""``wherry-runtime``: the beginning of its process, which may execute itself once more.

Little is imported here: what comes with the work is imported once, after that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from wherry.runtime.protect import ENTERING, protect_this_process


def main(argv: Sequence[str] | None = None) -> int:
    """The program's entry; returns its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if not ENTERING.isdisjoint(arguments):
        protect_this_process(arguments)
    from wherry.runtime.oci.commands import command

    return command(arguments)
