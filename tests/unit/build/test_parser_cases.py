"""Dockerfiles in directories: ``good`` ones with what they mean, ``bad`` ones with the sentence.

To add a good case, write its Dockerfile, print the result with ``python test_parser_cases.py
NAME`` and read it before it becomes ``expected.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from wherry.build.parser import parse_dockerfile
from wherry.errors import InvalidArgument, NotSupported

CASES = Path(__file__).parent / "cases"


def _names(kind: str) -> list[str]:
    return sorted(path.name for path in (CASES / kind).iterdir())


def _parsed(name: str) -> object:
    dockerfile = parse_dockerfile((CASES / "good" / name / "Dockerfile").read_bytes())
    return _without_defaults(msgspec.to_builtins(dockerfile))


def _without_defaults(value: object) -> object:
    if isinstance(value, dict):
        kept = {key: _without_defaults(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in ("", None, [], {}, False)}
    return [_without_defaults(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", _names("good"))
def test_a_good_dockerfile(name: str) -> None:
    expected = json.loads((CASES / "good" / name / "expected.json").read_text())
    assert _parsed(name) == expected


@pytest.mark.parametrize("name", _names("bad"))
def test_a_bad_dockerfile(name: str) -> None:
    source = (CASES / "bad" / name / "Dockerfile").read_bytes()
    with pytest.raises((InvalidArgument, NotSupported)) as caught:
        parse_dockerfile(source)
    assert str(caught.value) == (CASES / "bad" / name / "error.txt").read_text().rstrip("\n")


if __name__ == "__main__":
    print(json.dumps(_parsed(sys.argv[1]), indent=1, ensure_ascii=False))
