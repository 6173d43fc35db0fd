"""``wherry system fsck``: checks a data root that no engine uses (``wherry.engine.fsck``)."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from wherry.daemon.locks import locked_root
from wherry.daemon.options import Options
from wherry.engine.fsck import check_data_root
from wherry.errors import NotFound, WherryError


def main(argv: Sequence[str] | None = None) -> int:
    """0 if nothing is wrong, or not any more; 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="wherry system fsck", description="Check a data root that no engine uses."
    )
    parser.add_argument("--data-root", default=Options().data_root, help="default: %(default)s")
    parser.add_argument("--repair", action="store_true", help="repair what can be repaired")
    asked = parser.parse_args(argv)
    try:
        return _check(os.path.abspath(asked.data_root), asked.repair)
    except WherryError as error:
        sys.stderr.write(f"wherry: {error}\n")
        return 1


def _check(data_root: str, repair: bool) -> int:
    if not os.path.isdir(data_root):
        raise NotFound(f"there is no data root {data_root}")
    left = mended = 0
    with locked_root(data_root, "data root"):
        for finding in check_data_root(data_root, repair=repair):
            sys.stdout.write(f"{'repaired: ' if finding.mended else ''}{finding.text}\n")
            mended += finding.mended
            left += not finding.mended
    if left:
        sys.stderr.write(f"wherry: {left} problems in {data_root}: try again with --repair\n")
    elif not mended:
        sys.stdout.write(f"{data_root} is sound\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
