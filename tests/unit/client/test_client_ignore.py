from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.client.ignore import parse_ignore_file
from wherry.errors import InvalidArgument

# Rules, path, left out: from the Dockerfile reference, section ".dockerignore file".
_CASES = [
    ("*/temp*", "somedir/temporary.txt", True),
    ("*/temp*", "somedir/sub/temporary.txt", False),
    ("*/*/temp*", "somedir/sub/temporary.txt", True),
    ("temp?", "tempa", True),
    ("temp?", "temp", False),
    ("temp?", "tempab", False),
    ("**/*.go", "main.go", True),
    ("**/*.go", "a/b/main.go", True),
    ("*.md\n!README.md", "README.md", False),
    ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", True),
    ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", False),
    ("# note\n\n  build  ", "build/x/y", True),
    ("/build", "build", True),
    ("./build/", "build/x", True),
    ("a/../b", "b", True),
    ("build\n!build/keep", "build/keep/x", False),
    ("build\n!build/keep", "build/other", True),
    ("*\n!src", "src/a", False),
    ("*\n!src", "tests", True),
    ("a/**", "a/b/c", True),
    ("a/**", "a", False),
    ("a/**/z", "a/z", True),
    ("a/**/z", "a/b/c/z", True),
    ("[a-c].txt", "b.txt", True),
    ("[^a-c].txt", "b.txt", False),
    ("[^a-c].txt", "d.txt", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a.b", "axb", False),
    ("a+b", "a+b", True),
    (".", "anything", False),
    ("\ufeffbuild", "build", True),
]


@pytest.mark.parametrize(("rules", "path", "excluded"), _CASES)
def test_rules(rules: str, path: str, excluded: bool) -> None:
    assert parse_ignore_file(rules).excluded(path) is excluded


@pytest.mark.parametrize("rules", ["[", "[]", "a[^]b", "x\\", "!"])
def test_what_is_no_pattern_is_refused(rules: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_ignore_file(rules)


@given(path=st.from_regex(r"[a-z.+$(){}^|-]{1,8}(/[a-z.+$(){}^|-]{1,8}){0,3}", fullmatch=True))
def test_a_name_matches_itself_and_what_is_below(path: str) -> None:
    if any(part in (".", "..") for part in path.split("/")):
        return
    rules = parse_ignore_file(f"/{path}")
    assert rules.excluded(path)
    assert rules.excluded(f"{path}/below")
    assert not rules.excluded(f"{path}x")
