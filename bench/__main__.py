"""``python -m bench [--json FILE] [--only ROW] [--rounds N] [--engines NAME]``; needs root."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.engines import KINDS, installed
from bench.engines.base import Engine
from bench.image import archive
from bench.isolation import enter, run_inside
from bench.measure import FAILURES, measure
from bench.report import as_json, facts, table
from bench.rows import ROWS


def main() -> int:
    arguments = _arguments()
    if os.geteuid() != 0:
        sys.exit("bench: containers need root: run it with sudo")
    if arguments.worker:
        return _bench(arguments)
    if arguments.inside is not None:
        return enter(arguments.inside, sys.argv[2:])
    return run_inside(sys.argv[1:])


def _bench(arguments: argparse.Namespace) -> int:
    rows = [row for row in ROWS if not arguments.only or row.key in arguments.only]
    work = Path(tempfile.mkdtemp(prefix="wherry-bench-", dir=arguments.work))
    try:
        with _running(installed(work, set(arguments.engines))) as engines:
            if not engines:
                return 1
            known = facts(engines)
            results = measure(rows, engines, arguments.rounds)
    finally:
        _remove(work)
    print("\n".join(f"{name + ':':<11}{text}" for name, text in known.items()))
    print(f"\nmedians of up to {arguments.rounds} rounds\n")
    print(table(results, [engine.name for engine in engines]))
    if arguments.json:
        Path(arguments.json).write_text(as_json(results, known))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=sys.modules["bench"].__doc__)
    keys, names = [row.key for row in ROWS], [kind.name for kind in KINDS]
    parser.add_argument("--json", metavar="FILE", help="write all samples there, too")
    parser.add_argument("--only", action="append", choices=keys, help="this row; may be repeated")
    parser.add_argument("--engines", action="append", choices=names, default=[])
    parser.add_argument("--rounds", type=int, default=15, help="of each row on each engine")
    parser.add_argument("--work", default="/var/tmp", help="where the engines' roots are put")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _running(engines: Sequence[Engine]) -> Iterator[list[Engine]]:
    """All engines that come up, with the image loaded."""
    image = archive()
    running: list[Engine] = []
    try:
        for engine in engines:
            if _comes_up(engine, image):
                running.append(engine)
        yield running
    finally:
        for engine in running:
            engine.stop()


def _comes_up(engine: Engine, image: bytes) -> bool:
    try:
        engine.start()
        engine.load(image)
    except FAILURES as error:
        print(f"{engine.name} is left out: {error}", file=sys.stderr)
        engine.stop()
        return False
    return True


def _remove(work: Path) -> None:
    """Drop the engines' files, but nothing that is still mounted."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    left = [place for place in mounted if place.startswith(f"{work}/")]
    if left:
        print(f"still mounted, so {work} stays: {', '.join(left)}", file=sys.stderr)
        return
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
