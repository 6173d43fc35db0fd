"""COPY and ADD: what arrives, as whose, and what cannot leave the context or the image."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from wherry.build.api import CopyFailed
from wherry.errors import InvalidArgument, NotSupported

pytestmark = pytest.mark.root

FILES: dict[str, bytes | str] = {
    "a.txt": b"a",
    "b.txt": b"b",
    "c.md": b"c",
    "link.txt": "a.txt",
    "dir/": b"",
    "dir/x.txt": b"x",
    "dir/inner": "x.txt",
    "dir/sub/": b"",
    "dir/sub/y.txt": b"y",
    "out": "../../../../etc/passwd",
}


def test_files_and_directories(bench) -> None:
    result = bench.build(
        """\
        FROM busybox
        COPY a.txt /new/name
        COPY a.txt b.txt /new/dir/
        COPY a.txt /new/dir/..
        COPY dir /tree
        COPY dir/ /tree2/
        WORKDIR /w
        COPY a.txt .
        COPY dir sub/
        """,
        FILES,
    )
    assert bench.tree(result, "new") == ["a.txt", "dir", "dir/a.txt", "dir/b.txt", "name"]
    inside = ["inner", "sub", "sub/y.txt", "x.txt"]
    assert bench.tree(result, "tree") == bench.tree(result, "tree2") == inside
    assert bench.tree(result, "w") == ["a.txt", "sub", *(f"sub/{name}" for name in inside)]
    assert stat.S_ISLNK(bench.lstat(result, "tree/inner").st_mode)


def test_a_link_as_source_is_followed_and_one_in_a_tree_is_not(bench) -> None:
    result = bench.build("FROM busybox\nCOPY link.txt /got\nCOPY dir /d\n", FILES)
    assert stat.S_ISREG(bench.lstat(result, "got").st_mode)
    assert stat.S_ISLNK(bench.lstat(result, "d/inner").st_mode)


def test_globs_flatten_unless_parents(bench) -> None:
    result = bench.build(
        """\
        FROM busybox
        COPY [ab].t?t /glob/
        COPY d*/sub/*.txt /flat/
        COPY --parents d*/sub/*.txt a.txt /kept/
        COPY --parents dir/./sub /pivot/
        COPY --parents dir/**/*.txt /deep/
        COPY --exclude=*.txt --exclude=sub/** dir /excluded/
        """,
        FILES,
    )
    assert bench.tree(result, "glob") == ["a.txt", "b.txt"]
    assert bench.tree(result, "flat") == ["y.txt"]
    assert bench.tree(result, "kept") == ["a.txt", "dir", "dir/sub", "dir/sub/y.txt"]
    assert bench.tree(result, "pivot") == ["sub", "sub/y.txt"]
    assert bench.tree(result, "deep") == [
        "dir", "dir/sub", "dir/sub/y.txt", "dir/x.txt",
    ]  # fmt: skip
    assert bench.tree(result, "excluded") == ["inner", "sub"]


def test_owner_and_mode(bench) -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in (("Dockerfile", OWNERS.encode()), ("f", b"1")):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid, info.gid = len(content), 0o4711, 123, 456
            archive.addfile(info, io.BytesIO(content))
    result = bench.build_tar(context.getvalue())

    def owner(path: str) -> tuple[int, int, int]:
        status = bench.lstat(result, path)
        return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)

    assert owner("plain") == (0, 0, 0o4711)
    assert owner("name") == (1000, 1001, 0o4711)
    assert owner("both") == (1000, 50, 0o4711)
    assert owner("number") == (7, 7, 0o4711)
    assert owner("made") == (8, 9, 0o755)
    assert owner("made/f") == (8, 9, 0o600)


OWNERS = """\
FROM busybox
USER app
COPY f /plain
COPY --chown=app f /name
COPY --chown=app:staff f /both
COPY --chown=7 f /number
COPY --chown=8:9 --chmod=600 f /made/
"""


def test_a_stage_keeps_its_owners(bench) -> None:
    result = bench.build(
        """\
        FROM busybox AS a
        RUN mkdir /t && touch /t/f && ln /t/f /t/g && mkfifo /t/p && chmod 2755 /t/f
        COPY --chown=5:6 x /t/owned
        FROM busybox
        COPY --from=a /t /t
        COPY --from=a --chown=7:8 /t/owned /other
        COPY --from=a ../../t/f /clamped
        """,
        {"x": b"1"},
    )
    assert bench.lstat(result, "t/owned").st_uid == 5
    assert bench.lstat(result, "other").st_gid == 8
    assert bench.lstat(result, "t/f").st_nlink == 2
    assert stat.S_IMODE(bench.lstat(result, "t/f").st_mode) == 0o2755
    assert stat.S_ISFIFO(bench.lstat(result, "t/p").st_mode)
    assert stat.S_ISREG(bench.lstat(result, "clamped").st_mode)


def test_links_in_the_destination_are_resolved_inside_the_image(bench) -> None:
    victim = "/etc/wherry-test-must-not-exist"
    result = bench.build(
        f"""\
        FROM busybox
        COPY a.txt /lib64/one
        COPY a.txt /evil/two
        RUN ln -s {victim} /final && ln -s /gone/deep /dangling
        COPY a.txt /final
        COPY dir /dangling/
        """,
        FILES,
    )
    assert bench.read(result, "usr/lib/one") == "a"
    assert bench.read(result, "etc/two") == "a"
    assert bench.read(result, victim[1:]) == "a"
    assert "sub/y.txt" in bench.tree(result, "gone/deep")
    assert not os.path.exists(victim)
    assert not os.path.exists("/etc/two")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("COPY ../x /", r"COPY failed: forbidden path outside the build context: ../x \(\)"),
        ("COPY dir/../../x /", "COPY failed: forbidden path outside the build context"),
        ("ADD ../x /", "ADD failed: forbidden path outside the build context"),
        ("COPY out /", "COPY failed: file not found in build context or excluded by"),
        ("COPY *.nosuch /", "COPY failed: no source files were specified"),
        ("COPY --from=busybox /nosuch /", "COPY failed: stat /nosuch: file does not exist"),
        ("COPY a.txt b.txt /x", "the destination must be a directory and end with a /"),
        ("COPY *.txt /x", "the destination must be a directory and end with a /"),
        ("COPY tree /bin", "COPY failed: cannot replace to directory .* with file|non-directory"),
        ("RUN --mount=source=../x,target=/x true", "forbidden path outside the build context"),
    ],
)
def test_what_cannot_be_copied(bench, line, sentence) -> None:
    files = {**FILES, "tree/": b"", "tree/sh/": b"", "tree/sh/f": b""}
    with pytest.raises(CopyFailed, match=sentence):
        bench.build(f"FROM busybox\n{line}\n", files)


def test_a_dockerfile_outside_of_the_context(bench) -> None:
    with pytest.raises(InvalidArgument, match="forbidden path outside the build context"):
        bench.build("FROM busybox\n", dockerfile="../Dockerfile")
    with pytest.raises(InvalidArgument, match="Cannot locate specified Dockerfile: nosuch"):
        bench.build("FROM busybox\n", dockerfile="nosuch")


def test_the_ignore_file(bench) -> None:
    ignore = b"# comment\n*.md\ndir\n!dir/sub\n  Dockerfile  \n/b.txt\n"
    result = bench.build("FROM busybox\nCOPY . /all\n", {**FILES, ".dockerignore": ignore})
    assert bench.tree(result, "all") == [
        ".dockerignore", "a.txt", "dir", "dir/sub", "dir/sub/y.txt", "link.txt", "out",
    ]  # fmt: skip


def test_an_ignore_file_of_its_own_wins(bench) -> None:
    files = {
        **FILES,
        ".dockerignore": b"**\n",
        "other.dockerfile": b"FROM busybox\nCOPY . /all\n",
        "other.dockerfile.dockerignore": b"**\n!c.md\n",
    }
    result = bench.build("", files, dockerfile="other.dockerfile")
    assert bench.tree(result, "all") == ["c.md"]
    with pytest.raises(CopyFailed, match=r"excluded by \.dockerignore: stat a\.txt"):
        bench.build("FROM busybox\nCOPY a.txt /\n", files)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_add_unpacks_a_local_archive_and_copy_does_not(bench, pack) -> None:
    archive = pack(_archive())
    result = bench.build(
        "FROM busybox\nADD x.tar /u/\nCOPY x.tar /c/\nADD --unpack=false x.tar /n/\n",
        {"x.tar": archive},
    )
    assert bench.tree(result, "u") == ["in", "in/file"]
    assert bench.lstat(result, "u/in/file").st_uid == 33
    assert bench.tree(result, "c") == bench.tree(result, "n") == ["x.tar"]


def test_a_hostile_archive_stays_inside(bench) -> None:
    archive = _archive("../../../../tmp/wherry-escaped")
    with pytest.raises(CopyFailed, match=r"ADD failed: .*tries to leave the tree"):
        bench.build("FROM busybox\nADD x.tar /u/\n", {"x.tar": archive})
    assert not os.path.exists("/tmp/wherry-escaped")


def _archive(name: str = "in/file") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size, info.uid = 3, 33
        archive.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


class _Handler(http.server.BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        page = self.pages.get(self.path)
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    _Handler.pages = {"/dir/file.tar": _archive(), "/Dockerfile": b"FROM busybox\nENV far=1\n"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_add_fetches_a_url_and_does_not_unpack_it(bench, site) -> None:
    checksum = hashlib.sha256(_archive()).hexdigest()
    result = bench.build(
        f"FROM busybox\nADD --checksum=sha256:{checksum} {site}/dir/file.tar /got/\n"
        f"ADD {site}/dir/file.tar /named\n"
    )
    assert bench.tree(result, "got") == ["file.tar"]
    assert stat.S_IMODE(bench.lstat(result, "named").st_mode) == 0o600


def test_a_url_that_cannot_be_added(bench, site) -> None:
    for line, sentence in (
        (f"ADD {site}/nosuch /", "the server answers 404"),
        (f"ADD --checksum=sha256:{'0' * 64} {site}/dir/file.tar /", "digest mismatch"),
    ):
        with pytest.raises(CopyFailed, match=sentence):
            bench.build(f"FROM busybox\n{line}\n")
    with pytest.raises(NotSupported, match="git"):
        bench.build("FROM busybox\nADD git@example.com:x/y.git /\n")


def test_a_context_at_a_url(bench, site) -> None:
    result = bench.build_tar(b"", remote=f"{site}/Dockerfile")
    assert bench.config(result).config.env[1:] == ("far=1",)
    _Handler.pages["/context.tar.gz"] = gzip.compress(
        bench.context("FROM busybox\nCOPY f /\n", {"f": b"far"})
    )
    result = bench.build_tar(b"", remote=f"{site}/context.tar.gz")
    assert bench.read(result, "f") == "far"


def test_a_sparse_file_stays_sparse(bench) -> None:
    result = bench.build(
        """\
        FROM busybox AS a
        RUN mkdir /t && echo start > /t/f && dd if=/bin/sh of=/t/f bs=1 count=9 seek=50000000
        FROM busybox
        COPY --from=a /t /t
        """
    )
    status = bench.lstat(result, "t/f")
    assert status.st_size == 50000009
    assert status.st_blocks * 512 < 1 << 20
