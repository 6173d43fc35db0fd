"""What archives in the wild look like: other writers' forms, limits, damage."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from wherry.fs.tar import pax, writer
from wherry.fs.tar.entry import BadArchive, Entry, Kind, Limits
from wherry.fs.tar.pack import pack_tree
from wherry.fs.tar.reader import TarReader
from wherry.fs.tar.unpack import extract
from wherry.fs.walk import Node


def read(data: bytes, limits: Limits | None = None) -> list[Entry]:
    return list(TarReader(io.BytesIO(data), limits or Limits()))


def one(entry: Entry, content: bytes = b"") -> bytes:
    return writer.header(entry) + content + writer.padding(len(content)) + writer.END


def with_pax(records: list[tuple[str, bytes]], entry: Entry, content: bytes = b"") -> bytes:
    data = pax.encode(records)
    head = bytearray(writer.header(Entry("x", Kind.FILE, size=len(data))))
    head[156:157] = b"x"
    fix_checksum(head)
    return bytes(head) + data + writer.padding(len(data)) + one(entry, content)


def fix_checksum(head: bytearray) -> None:
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])


FORMS = ["gnu", "oldgnu", "pax", "ustar", "v7"]


@pytest.mark.parametrize("form", FORMS)
def test_gnu_tar_archives_unpack_to_what_was_packed(form: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(b"content" * 1000)
    (tree / "link").symlink_to("sub/file")
    os.link(tree / "sub" / "file", tree / "hard")
    if form in ("gnu", "oldgnu", "pax"):
        long = "d" * 90
        (tree / long / long).mkdir(parents=True)
        (tree / long / long / ("ü" * 60)).write_text("deep")
        (tree / "long-link").symlink_to("t" * 200)
    subprocess.run(
        ["tar", "-C", tree, f"--format={form}", "-cf", tmp_path / "a.tar", "."], check=True
    )
    assert_unpacks_to(tmp_path, tree)


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=pax", "--sparse-version=0.0"],
        ["--format=pax", "--sparse-version=0.1"],
        ["--format=pax", "--sparse-version=1.0"],
    ],
)
@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_sparse_files(options: list[str], pieces: int, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with open(tree / "sparse", "wb") as file:
        for number in range(pieces):
            file.seek(number * 3 * 65536 + 65536)
            file.write(b"%d" % number * 3000)
        file.truncate(pieces * 3 * 65536 + 12345)
    (tree / "zz-after").write_text("after")
    subprocess.run(["tar", "-C", tree, "-S", *options, "-cf", tmp_path / "a.tar", "."], check=True)
    assert_unpacks_to(tmp_path, tree)
    blocks = (tmp_path / "out" / "sparse").stat().st_blocks
    assert blocks * 512 < (tree / "sparse").stat().st_size / 2


def assert_unpacks_to(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    fd = os.open(out, os.O_RDONLY)
    try:
        with open(tmp_path / "a.tar", "rb") as stream:
            extract(stream, fd, owner=(os.getuid(), os.getgid()))
    finally:
        os.close(fd)
    subprocess.run(["diff", "-r", "--no-dereference", tree, out], check=True)


def test_names_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    assert [e.name for e in read(one(Entry(name, Kind.FILE)))] == [name]


def test_global_headers_hold_until_the_next() -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}
    ) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert [e.name for e in read(buffer.getvalue())] == ["a"]


def test_an_archive_may_end_without_an_end() -> None:
    assert [e.name for e in read(one(Entry("a", Kind.FILE))[:512])] == ["a"]
    assert read(b"") == []


def test_negative_and_fractional_times() -> None:
    [entry] = read(with_pax([("mtime", b"-1.25")], Entry("a", Kind.FILE)))
    assert entry.mtime_ns == -1_250_000_000


def test_content_is_skipped_when_it_is_not_read() -> None:
    data = writer.header(Entry("a", Kind.FILE, size=700)) + b"x" * 1024
    assert [e.name for e in read(data + one(Entry("b", Kind.FILE)))] == ["a", "b"]


def sparse(*numbers: bytes) -> list[tuple[str, bytes]]:
    return [("GNU.sparse.map", b",".join(numbers)), ("GNU.sparse.size", b"1000")]


BAD: list[tuple[bytes, str]] = [
    (one(Entry("a", Kind.FILE, size=100), b"x" * 100)[:600], "ends in the middle"),
    (one(Entry("a", Kind.FILE))[:300], "ends in the middle of a header"),
    (b"no tar archive at all" * 100, "no tar archive"),
    (one(Entry("a\0b", Kind.SYMLINK, target="x" * 5000)), "impossible name"),
    (with_pax([("path", b"a\0b")], Entry("a", Kind.FILE)), "impossible name"),
    (with_pax([("path", b"x" * 5000)], Entry("a", Kind.FILE)), "impossible name"),
    (with_pax([("path", b"")], Entry("a", Kind.FILE)), "without a name"),
    (with_pax([("uid", b"4294967295")], Entry("a", Kind.FILE)), "impossible owner"),
    (with_pax([("size", b"-1")], Entry("a", Kind.FILE)), "malformed number"),
    (with_pax([("size", b"9" * 19)], Entry("a", Kind.FILE)), "an entry of"),
    (with_pax([("mtime", b"yesterday")], Entry("a", Kind.FILE)), "malformed time"),
    (with_pax([("a", b"x" * 2_000_000)], Entry("a", Kind.FILE)), "extended headers of more"),
    (with_pax(sparse(b"0", b"2000"), Entry("a", Kind.FILE)), "pieces that do not fit"),
    (with_pax(sparse(b"0", b"100"), Entry("a", Kind.FILE)), "pieces that do not fit"),
    (
        with_pax(sparse(b"50", b"50", b"0", b"50"), Entry("a", Kind.FILE, size=100), b"x" * 100),
        "pieces that do not fit",
    ),
    (one(Entry("a", Kind.SYMLINK)), "no target"),
]


@pytest.mark.parametrize(("data", "sentence"), BAD)
def test_bad_archives_are_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BadArchive, match=sentence):
        read(data)


def test_an_unknown_type_is_named() -> None:
    head = bytearray(one(Entry("strange", Kind.FILE)))
    head[156:157] = b"Q"
    block = head[:512]
    fix_checksum(block)
    with pytest.raises(BadArchive, match="'strange' has the unknown type"):
        read(bytes(block))


def test_the_number_of_entries_has_a_limit() -> None:
    data = b"".join(writer.header(Entry(str(n), Kind.FILE)) for n in range(11))
    with pytest.raises(BadArchive, match="more than 10 entries"):
        read(data, Limits(entries=10))


def test_the_sum_of_sizes_has_a_limit() -> None:
    records = [("GNU.sparse.map", b""), ("GNU.sparse.size", b"100")]
    data = with_pax(records, Entry("a", Kind.FILE))
    with pytest.raises(BadArchive, match="unpacks to more than 99 bytes at 'a'"):
        read(data, Limits(total=99))


def test_a_short_way_of_writing_headers_says_what_others_read() -> None:
    entry = Entry("d/file", Kind.FILE, 0o4755, 1000, 0o7777777, 3, 1_700_000_000 * 10**9)
    data = one(entry, b"abc")
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        member = tar.next()
    assert member is not None
    told = (member.name, member.mode, member.uid, member.gid, member.size, member.mtime)
    assert told == ("d/file", 0o4755, 1000, 0o7777777, 3, 1_700_000_000)
    assert read(data) == [entry]


@pytest.mark.parametrize("form", [b"%06o \0", b"%07o\0", b" %05o\0 ", b"%06o  "])
def test_checksums_may_be_written_otherwise(form: bytes) -> None:
    data = bytearray(one(Entry("file", Kind.FILE)))
    total = sum(data[:148]) + sum(data[156:512]) + sum(b" " * 8)
    data[148:156] = (form % total).rjust(8, b"0")[:8]
    assert [entry.name for entry in read(bytes(data))] == ["file"]


def test_what_was_replaced_since_its_directory_was_read_is_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text(name)

    def exchange(node: Node) -> bool:
        if node.path == "a":  # the others have been listed by now
            (tmp_path / "b").unlink()
            (tmp_path / "c").unlink()
            os.mkfifo(tmp_path / "c")
        return False

    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        packed = b"".join(pack_tree(fd, skip=exchange))
    finally:
        os.close(fd)
    assert [entry.name for entry in read(packed)] == ["a", "d"]
