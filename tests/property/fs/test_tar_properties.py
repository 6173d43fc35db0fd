"""The tar reader and writer against each other, and against the standard library's."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.effort import examples

from wherry.fs.tar import writer
from wherry.fs.tar.entry import BadArchive, Entry, Kind
from wherry.fs.tar.parents import clean
from wherry.fs.tar.reader import TarReader
from wherry.fs.tar.unpack import extract

SECOND = 1_000_000_000

raw_names = st.binary(min_size=1, max_size=300).filter(lambda b: b"\0" not in b)
names = raw_names.map(os.fsdecode)
ids = st.integers(0, 0xFFFFFFFE)
times = st.integers(-(1 << 31), 1 << 33).map(lambda s: s * SECOND)
xattrs = st.dictionaries(
    st.text("abcxyz._", min_size=1, max_size=20).map(lambda n: "user." + n),
    st.binary(max_size=100),
    max_size=3,
).map(lambda found: dict(sorted(found.items())))


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from(list(Kind)))
    content = draw(st.binary(max_size=2000)) if kind is Kind.FILE else b""
    is_device = kind in (Kind.CHARACTER, Kind.BLOCK)
    numbers = st.tuples(st.integers(0, 4095), st.integers(0, 0xFFFFF))
    entry = Entry(
        draw(names),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(ids),
        draw(ids),
        len(content),
        draw(times),
        draw(names) if kind in (Kind.HARDLINK, Kind.SYMLINK) else "",
        draw(numbers) if is_device else (0, 0),
        draw(xattrs),
    )
    return entry, content


def archive(members: list[tuple[Entry, bytes]]) -> bytes:
    parts = []
    for entry, content in members:
        parts += [writer.header(entry), content, writer.padding(len(content))]
    return b"".join([*parts, writer.END])


class Dribble:
    """A stream that gives as few bytes at a time as it likes."""

    def __init__(self, data: bytes, sizes: Iterator[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, next(self._sizes)))


def read_back(stream: io.BytesIO | Dribble) -> list[tuple[Entry, bytes]]:
    reader = TarReader(stream)
    return [(e, b"".join(bytes(p) for p in reader.content())) for e in reader]


@given(st.lists(entries(), max_size=5))
def test_what_is_written_is_read(members: list[tuple[Entry, bytes]]) -> None:
    assert read_back(io.BytesIO(archive(members))) == members


@given(st.lists(entries(), max_size=3), st.lists(st.integers(1, 700), min_size=1))
def test_the_size_of_reads_does_not_matter(
    members: list[tuple[Entry, bytes]], sizes: list[int]
) -> None:
    def forever() -> Iterator[int]:
        while True:
            yield from sizes

    assert read_back(Dribble(archive(members), forever())) == members


@given(st.lists(entries(), max_size=4))
def test_the_standard_library_reads_the_same(members: list[tuple[Entry, bytes]]) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive(members)), mode="r:") as tar:
        for (entry, content), info in zip(members, tar, strict=True):
            # The library strips slashes at the end, and takes some names for directories.
            assert info.name.rstrip("/") == entry.name.rstrip("/")
            assert (info.mode, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
            assert info.mtime == entry.mtime_ns // SECOND
            assert info.linkname == entry.target
            if entry.kind is Kind.FILE and info.isreg():
                file = tar.extractfile(info)
                assert file is not None
                assert file.read() == content


tar_infos = st.tuples(
    st.text(min_size=1, max_size=200).filter(lambda t: "\0" not in t and t.strip("/")),
    st.binary(max_size=3000),
    st.integers(0, 1 << 24),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)


@given(tar_infos)
def test_what_the_standard_library_writes_is_read(
    member: tuple[str, bytes, int, int],
) -> None:
    name, content, uid, form = member
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return  # half of a surrogate pair has no name in a file system
    info = tarfile.TarInfo(name)
    info.size, info.uid, info.mtime = len(content), uid, 1234567890
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        tar.addfile(info, io.BytesIO(content))
    [(entry, found)] = read_back(io.BytesIO(buffer.getvalue()))
    assert (entry.name, entry.uid, entry.mtime_ns) == (name, uid, 1234567890 * SECOND)
    assert found == content


@given(st.binary(max_size=3000))
def test_rubbish_is_refused_or_empty(data: bytes) -> None:
    found: list[tuple[Entry, bytes]] = []
    with suppress(BadArchive):
        found = read_back(io.BytesIO(data))
    assert found == []


@given(st.lists(entries(), min_size=1, max_size=2), st.data())
def test_a_damaged_archive_is_read_or_refused(
    members: list[tuple[Entry, bytes]], data: st.DataObject
) -> None:
    whole = bytearray(archive(members))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    with suppress(BadArchive):
        for entry, content in read_back(io.BytesIO(bytes(whole))):
            assert len(content) <= entry.size <= len(whole)


components = st.sampled_from(["", ".", "..", "a", "b", "link", "up", "...", ".wh.a", "a.."])


@given(st.lists(components, max_size=6), st.booleans())
def test_clean_names_stay_below(parts: list[str], absolute: bool) -> None:
    name = ("/" if absolute else "") + "/".join(parts)
    try:
        path = clean(name)
    except BadArchive:
        assert ".." in parts
        return
    assert ".." not in parts
    assert path == "/".join(part for part in parts if part not in ("", "."))


hostile_names = st.lists(components, min_size=1, max_size=4).map("/".join)
hostile_targets = st.sampled_from(
    ["/", "..", "../..", "../outside", "/outside", "a", "b/../..", "link", "/proc/self/root", "."]
)


@st.composite
def hostile_entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from([Kind.FILE, Kind.SYMLINK, Kind.HARDLINK, Kind.DIRECTORY]))
    content = b"hostile" if kind is Kind.FILE else b""
    target = draw(hostile_targets) if kind in (Kind.SYMLINK, Kind.HARDLINK) else ""
    uid, gid = os.getuid(), os.getgid()
    return Entry(draw(hostile_names), kind, 0o755, uid, gid, len(content), 0, target), content


@settings(max_examples=examples(300))
@given(members=st.lists(hostile_entries(), min_size=1, max_size=8))
def test_nothing_gets_out_of_the_tree(
    members: list[tuple[Entry, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("hostile")
    (base / "tree").mkdir()
    (base / "outside").mkdir()
    (base / "outside" / "file").write_text("safe")
    before = os.stat(base / "outside")
    root = os.open(base / "tree", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for member in members:
            try:
                extract(io.BytesIO(archive([member])), root)
            except BadArchive:
                continue
    finally:
        os.close(root)
    assert sorted(os.listdir(base)) == ["outside", "tree"]
    assert os.listdir(base / "outside") == ["file"]
    assert (base / "outside" / "file").read_text() == "safe"
    assert (base / "outside" / "file").stat().st_nlink == 1
    assert os.stat(base / "outside").st_mtime_ns == before.st_mtime_ns
