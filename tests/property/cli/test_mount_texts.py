"""``-v``, ``--mount`` and ``--tmpfs``: what any text is read as, or one sentence about it."""

from __future__ import annotations

import posixpath

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.build.run_mounts import parse_mount as parse_run_mount
from wherry.cli.mounts import parse_mount, parse_tmpfs, parse_volumes
from wherry.cli.values import csv_fields
from wherry.engine.mounts.planning import parse_bind
from wherry.errors import InvalidArgument, WherryError

PIECES = st.sampled_from(
    ["/", "a", "..", ":", "::", "ro", "rw", "z", "nocopy", "rshared", ",", "=", "type", "bind",
     "volume", "tmpfs", "target=", "source=", "dst=/x", "readonly", "tmpfs-size=", "1g", "-1",
     "volume-opt=", '"', '""', "\0", "\n", " ", "é", "bind-propagation=", "type=cache", "uid=",
     "99999999999999999999"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=10).map("".join) | st.text(max_size=20)


@settings(max_examples=examples(300), deadline=None)
@given(TEXTS)
def test_a_bind_is_absolute_and_clean_or_refused(text: str) -> None:
    try:
        planned = parse_bind(text)
    except InvalidArgument:
        return
    assert planned.destination == posixpath.normpath(planned.destination)
    assert planned.destination.startswith("/")
    assert planned.destination != "/"
    assert ".." not in planned.destination.split("/")
    assert (planned.type == "bind") == planned.source.startswith("/")
    if planned.type == "bind":
        assert ".." not in planned.source.split("/")


@settings(max_examples=examples(300), deadline=None)
@given(TEXTS)
def test_texts_of_the_command_line_end_in_a_mount_or_a_sentence(text: str) -> None:
    parse_tmpfs([text])
    try:
        binds, anonymous = parse_volumes([text])
        assert len(binds) + len(anonymous) == 1
    except InvalidArgument:
        pass
    try:
        mount = parse_mount(text)
        assert mount["Target"]
        assert mount["Type"] != "bind" or mount["Source"].startswith("/")
    except InvalidArgument:
        pass


@settings(max_examples=examples(300), deadline=None)
@given(TEXTS)
def test_mounts_of_a_build_end_in_a_mount_or_a_sentence(text: str) -> None:
    try:
        mount = parse_run_mount(text)
    except WherryError:
        return
    assert mount.target or mount.type == "secret"
    assert mount.uid is None or 0 <= mount.uid < 1 << 32


@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8), min_size=1, max_size=5)
)
def test_quoted_fields_come_back(fields: list[str]) -> None:
    quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    # Two quotes with nothing between are an empty field and an escaped quote at the same time.
    if all(fields) and not any(field.startswith('"') or field.endswith('"') for field in fields):
        assert csv_fields(quoted) == fields
