"""Layers as overlayfs shows them, with every trick an archive may play."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import NotSupported
from wherry.fs.remove import remove_tree
from wherry.fs.tar.entry import BadArchive
from wherry.fs.tar.layer import apply_layer
from wherry.fs.tar.pack import pack_layer
from wherry.fs.tar.settle import settle
from wherry.fs.tar.unpack import extract
from wherry.snapshot.api import OverlayMount
from wherry.snapshot.mounting import mount_detached

pytestmark = pytest.mark.root

Member = tuple[str, dict[str, Any]]


def file(name: str, content: str = "", **fields: Any) -> Member:
    return name, {"data": content.encode(), **fields}


def directory(name: str, **fields: Any) -> Member:
    return name, {"type": tarfile.DIRTYPE, "mode": 0o755, **fields}


def link(name: str, target: str) -> Member:
    return name, {"type": tarfile.SYMTYPE, "linkname": target}


def hard(name: str, target: str) -> Member:
    return name, {"type": tarfile.LNKTYPE, "linkname": target}


def archive(*members: Member) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, given in members:
            fields = dict(given)
            data = fields.pop("data", b"")
            info = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


@dataclass
class Layers:
    """A stack of layers; ``root`` is its merged tree."""

    directory: Path
    uppers: list[Path]

    def mount(self) -> int | None:
        if not self.uppers:
            return None
        lower = [*map(str, reversed(self.uppers)), str(self.directory / "empty")]
        return mount_detached(OverlayMount(lower=tuple(lower)))

    def new_upper(self) -> Path:
        upper = self.directory / f"upper{len(self.uppers)}"
        upper.mkdir()
        return upper

    def add(self, stream: io.BytesIO) -> None:
        upper = self.new_upper()
        lower = self.mount()
        fd = os.open(upper, os.O_RDONLY)
        try:
            apply_layer(stream, fd, lower)
        finally:
            os.close(fd)
            if lower is not None:
                os.close(lower)
        self.uppers.append(upper)

    def layer(self, *members: Member) -> None:
        self.add(archive(*members))

    def packed(self, **options: Any) -> bytes:
        """The topmost layer as an archive."""
        top = self.uppers.pop()
        lower = self.mount()
        fd = os.open(top, os.O_RDONLY)
        try:
            return b"".join(pack_layer(fd, lower, **options))
        finally:
            self.uppers.append(top)
            os.close(fd)
            if lower is not None:
                os.close(lower)

    def tree(self) -> dict[str, str]:
        """All names of the merged tree: a file's content, a link's target, or the type."""
        fd = self.mount()
        assert fd is not None
        try:
            return dict(describe(Path(f"/proc/self/fd/{fd}")))
        finally:
            os.close(fd)

    def status(self, name: str) -> os.stat_result:
        fd = self.mount()
        assert fd is not None
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def change(self) -> Changing:
        return Changing(self)


class Changing:
    """A writable overlay on top of the stack, as a container has it."""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        upper = layers.new_upper()
        work = layers.directory / f"work{len(layers.uppers)}"
        work.mkdir()
        lower = [*map(str, reversed(layers.uppers)), str(layers.directory / "empty")]
        self.fd = mount_detached(OverlayMount(lower=tuple(lower), upper=str(upper), work=str(work)))
        self.upper = upper

    def __enter__(self) -> Path:
        return Path(f"/proc/self/fd/{self.fd}")

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)
        self.layers.uppers.append(self.upper)


def describe(root: Path) -> Iterator[tuple[str, str]]:
    for here, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(here, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                text = f"-> {os.readlink(path)}"
            elif stat.S_ISREG(status.st_mode):
                text = path.read_text()
            else:
                text = {stat.S_IFDIR: "/", stat.S_IFIFO: "|"}.get(
                    stat.S_IFMT(status.st_mode), "device"
                )
            yield str(path.relative_to(root)), text


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    (tmp_path / "empty").mkdir()
    return Layers(tmp_path, [])


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [info.name for info in tar]


# --- unpacking ---------------------------------------------------------------------------------


@pytest.mark.parametrize("marker_first", [True, False])
def test_whiteouts_hide_lower_layers_and_never_siblings(layers: Layers, marker_first: bool) -> None:
    layers.layer(directory("d"), file("d/old", "old"), file("f", "old"), file("gone", "old"))
    members = [directory("d"), file("d/new", "new"), file("f", "new")]
    markers = [file(".wh.d"), file(".wh.f"), file(".wh.gone"), file(".wh.never-was")]
    layers.layer(*(markers + members if marker_first else members + markers))
    assert layers.tree() == {"d": "/", "d/new": "new", "f": "new"}


@pytest.mark.parametrize("marker_first", [True, False])
def test_an_opaque_marker_applies_first(layers: Layers, marker_first: bool) -> None:
    layers.layer(directory("d"), directory("d/s"), file("d/s/old", "old"), file("d/old", "old"))
    members = [directory("d"), directory("d/s"), file("d/s/new", "new")]
    marker = [file("d/.wh..wh..opq")]
    layers.layer(*(marker + members if marker_first else members + marker))
    assert layers.tree() == {"d": "/", "d/s": "/", "d/s/new": "new"}


def test_an_opaque_root(layers: Layers) -> None:
    layers.layer(directory("d"), file("d/old", "old"), file("old", "old"))
    layers.layer(directory("d"), file("d/new", "new"), file(".wh..wh..opq"))
    assert layers.tree() == {"d": "/", "d/new": "new"}


def test_markers_in_the_first_layer_mean_nothing(layers: Layers) -> None:
    layers.layer(file(".wh.a"), file(".wh..wh..opq"), directory("d"), file("d/.wh.x"), file("a"))
    assert layers.tree() == {"a": "", "d": "/"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh...", ".wh./"])
def test_whiteout_tricks_are_refused(layers: Layers, name: str) -> None:
    layers.layer(directory("d"), file("d/kept", "kept"))
    with pytest.raises(BadArchive, match="whiteout"):
        layers.layer(file(name))


def test_a_directory_over_a_directory_replaces_attributes(layers: Layers) -> None:
    layers.layer(directory("d", uid=1, mode=0o700), file("d/f", "kept"))
    layers.layer(directory("d", uid=2, mode=0o1777, mtime=1000))
    status = layers.status("d")
    assert (status.st_uid, status.st_mode & 0o7777, status.st_mtime) == (2, 0o1777, 1000)
    assert layers.tree() == {"d": "/", "d/f": "kept"}


def test_other_replacements_unlink_first(layers: Layers) -> None:
    layers.layer(directory("d"), file("d/f"), file("f", "f"), link("l", "f"), directory("e"))
    layers.layer(file("d", "now a file"), directory("f"), file("l", "now a file"), link("e", "f"))
    assert layers.tree() == {"d": "now a file", "f": "/", "l": "now a file", "e": "-> f"}


def test_replacements_within_one_layer(layers: Layers) -> None:
    layers.layer(directory("d"), file("d/lower", "lower"))
    layers.layer(
        directory("d"), file("d/a"), file("d", "file"), directory("d"), file("d/b", "b"),
        link("x", "d"), file("x/through", "1"), directory("x"), file("x/direct", "2"),
    )  # fmt: skip
    assert layers.tree() == {
        "d": "/", "d/b": "b", "d/through": "1", "x": "/", "x/direct": "2",
    }  # fmt: skip


def test_parents_may_be_links_of_a_lower_layer(layers: Layers) -> None:
    layers.layer(
        directory("usr"), directory("usr/lib", mode=0o750, uid=7, mtime=77), link("lib", "usr/lib"),
        link("lib64", "/lib"), file("usr/lib/old", "old"), link("out", "../../../usr/new"),
    )  # fmt: skip
    layers.layer(file("lib64/new", "new"), file("lib/.wh.old"), file("out/made", "made"))
    tree = layers.tree()
    assert tree["usr/lib/new"] == "new"
    assert tree["usr/new/made"] == "made"
    assert "usr/lib/old" not in tree
    assert (tree["lib"], tree["lib64"]) == ("-> usr/lib", "-> /lib")
    status = layers.status("usr/lib")
    assert (status.st_uid, status.st_mode & 0o7777, status.st_mtime) == (7, 0o750, 77)


def test_a_link_that_becomes_a_directory_is_no_parent_any_more(layers: Layers) -> None:
    layers.layer(directory("usr"), directory("usr/lib"), link("lib", "usr/lib"))
    layers.layer(file("lib/a", "a"), directory("lib"), file("lib/b", "b"))
    assert layers.tree() == {
        "usr": "/", "usr/lib": "/", "usr/lib/a": "a", "lib": "/", "lib/b": "b",
    }  # fmt: skip


def test_hard_links(layers: Layers) -> None:
    layers.layer(
        directory("a"), directory("b"), file("a/f", "f"), hard("b/h", "a/f"), hard("c", "./a/f"),
        link("dangling", "nowhere"), hard("dangling2", "dangling"), hard("a/f", "a/f"),
    )  # fmt: skip
    assert layers.status("b/h").st_nlink == 3
    assert layers.status("c").st_ino == layers.status("a/f").st_ino
    assert layers.tree()["dangling2"] == "-> nowhere"
    layers.layer(hard("d", "/a/f"), hard("new/e", "b/h"))
    tree = layers.tree()
    assert (tree["d"], tree["new/e"]) == ("f", "f")


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        (hard("h", "missing"), "'h' points to 'missing', which is missing"),
        (hard("h", "d"), "which is a directory"),
        (hard("h", "../../etc/passwd"), "leave the tree"),
        (hard("h", "."), "points to the root"),
        (file("../f"), "leave the tree"),
        (file("d/../../f"), "leave the tree"),
        (file("f/below"), "which is no directory"),
        (file("loop/f"), "loop of links"),
        (file("x" * 300), "File name too long"),
        (file("a/" * 300 + "f"), "too deep"),
        (file("."), "no name of its own"),
    ],
)
def test_what_is_refused_names_the_entry(layers: Layers, member: Member, sentence: str) -> None:
    layers.layer(directory("d"), file("f"), link("loop", "loop"))
    with pytest.raises(BadArchive, match=sentence):
        layers.layer(member)


def test_absolute_names_and_links_stay_inside(layers: Layers, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    layers.layer(
        file("/etc/abs", "abs"), link("evil", str(outside)), file("evil/f", "f"),
        link("up", "../../../.."), file("up/g", "g"),
    )  # fmt: skip
    tree = layers.tree()
    assert tree["etc/abs"] == "abs"
    assert tree[str(outside).lstrip("/") + "/f"] == "f"
    assert tree["g"] == "g"
    assert os.listdir(outside) == []


def test_everything_else_that_a_file_has(layers: Layers) -> None:
    capability = b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    pax = {
        "SCHILY.xattr.security.capability": capability.decode("latin-1"),
        "SCHILY.xattr.user.note": "text",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.trusted.overlay.redirect": "/elsewhere",
    }
    layers.layer(
        file("ping", "x", mode=0o4755, uid=1 << 31, gid=5, mtime=12, pax_headers=pax),
        ("fifo", {"type": tarfile.FIFOTYPE, "mode": 0o622}),
        ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666}),
    )
    status = layers.status("ping")
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o4755, 1 << 31, 5)
    assert status.st_mtime == 12
    path = layers.uppers[0] / "ping"
    assert os.getxattr(path, "security.capability") == capability
    assert os.getxattr(path, "user.note") == b"text"
    assert not [name for name in os.listxattr(path) if name.startswith("trusted.")]
    assert layers.status("fifo").st_mode == stat.S_IFIFO | 0o622
    null = layers.status("null")
    assert (null.st_mode, null.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))


def test_a_device_that_overlayfs_reads_as_a_whiteout(layers: Layers) -> None:
    layers.layer(file("f", "f"))
    layers.layer(("f", {"type": tarfile.CHRTYPE, "devmajor": 0, "devminor": 0}))
    assert layers.tree() == {}


def test_aufs_bookkeeping_is_left_out(layers: Layers) -> None:
    layers.layer(directory(".wh..wh.plnk"), file(".wh..wh.plnk/12.34"), file(".wh..wh.aufs"))
    assert layers.tree() == {}


# --- packing -----------------------------------------------------------------------------------


def test_changes_become_a_layer(layers: Layers) -> None:
    layers.layer(
        directory("keep"), directory("del"), file("del/f"), file("gone"), file("keep/mod", "old"),
        directory("again"), directory("again/sub"), file("again/sub/x"), file("again/y"),
        directory("touched"),
    )  # fmt: skip
    with layers.change() as root:
        (root / "gone").unlink()
        remove_tree(str(root / "del"))
        (root / "keep" / "mod").write_text("new")
        remove_tree(str(root / "again"))
        (root / "again" / "sub").mkdir(parents=True)
        (root / "again" / "z").write_text("z")
        (root / "touched" / "temporary").write_text("")
        (root / "touched" / "temporary").unlink()
        (root / "new").mkdir()
        os.link(root / "keep" / "mod", root / "new" / "hard")
    before = layers.tree()
    data = layers.packed()
    assert names(data) == [
        ".wh.del", ".wh.gone", "again", "again/.wh.y", "again/z", "again/sub", "again/sub/.wh.x",
        "keep", "keep/mod", "new", "new/hard",
    ]  # fmt: skip
    layers.uppers.pop()
    (layers.directory / "upper1").rename(layers.directory / "original")
    layers.add(io.BytesIO(data))
    assert layers.tree() == before
    assert layers.packed() == data


def test_nothing_changed_is_nothing(layers: Layers) -> None:
    layers.layer(directory("d"), file("d/f", "f"))
    with layers.change() as root:
        (root / "d" / "new").write_text("")
        (root / "d" / "new").unlink()
    assert layers.packed() == b""


def test_attributes_of_directories_are_changes(layers: Layers) -> None:
    layers.layer(directory("mode"), directory("owner"), directory("xattr"), directory("same"))
    with layers.change() as root:
        (root / "mode").chmod(0o700)
        os.chown(root / "owner", 1, 1)
        os.setxattr(root / "xattr", "user.a", b"b")
        (root / "same").chmod(0o700)
        (root / "same").chmod(0o755)
    assert names(layers.packed()) == ["mode", "owner", "xattr"]
    with layers.change() as root:
        root.chmod(0o700)
    assert names(layers.packed()) == ["."]


def test_empty_mountpoints_are_left_out(layers: Layers) -> None:
    layers.layer(directory("etc", mtime=5), directory("run"))
    paths = ["/etc/hosts", "/run/a/b", "/run/a", "/proc", "/full", "/etc/real"]
    with layers.change() as root:
        (root / "etc" / "hosts").write_text("")
        (root / "run" / "a" / "b").mkdir(parents=True)
        (root / "proc").mkdir()
        (root / "full").mkdir()
        (root / "full" / "file").write_text("")
        (root / "etc" / "real").write_text("content")
    assert names(layers.packed(exclude=paths)) == ["etc", "etc/real", "full", "full/file"]
    fd = os.open(layers.uppers[-1], os.O_RDONLY)
    settle(fd, paths, None)
    os.close(fd)
    assert names(layers.packed()) == ["etc", "etc/real", "full", "full/file"]


def test_times_can_be_set_back(layers: Layers) -> None:
    with layers.change() as root:
        (root / "f").write_text("f")
        (root / "old").write_text("old")
        os.utime(root / "old", (5, 5))
        (root / "l").symlink_to("f")
    fd = os.open(layers.uppers[-1], os.O_RDONLY)
    settle(fd, (), 1000)
    os.close(fd)
    with tarfile.open(fileobj=io.BytesIO(layers.packed())) as tar:
        assert {info.name: info.mtime for info in tar} == {"f": 1000, "old": 5, "l": 1000}


def test_a_name_like_a_whiteout_cannot_be_in_a_layer(layers: Layers) -> None:
    with layers.change() as root:
        (root / ".wh.me").write_text("")
    with pytest.raises(NotSupported, match=r"'/.wh.me' into a layer"):
        layers.packed()


def test_sockets_are_left_out_and_devices_are_kept(layers: Layers) -> None:
    with layers.change() as root:
        os.mknod(root / "socket", stat.S_IFSOCK | 0o644)
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mkfifo(root / "fifo")
    assert names(layers.packed()) == ["fifo", "null"]


def test_files_have_their_own_group_where_a_directory_gives_another(tmp_path: Path) -> None:
    packed = archive(
        directory("d"),
        file("d/a"),
        file("d/b"),
        directory("d", mode=0o2775, gid=1234),
        file("d/c"),
        file("d/e"),
        file("d/f", gid=1234),
        file("d/g", gid=1234),
        file("d/h", mode=0o4755),
    )
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        extract(packed, fd)
    finally:
        os.close(fd)
    groups = {path.name: path.stat().st_gid for path in (tmp_path / "d").iterdir()}
    assert groups == {"a": 0, "b": 0, "c": 0, "e": 0, "f": 1234, "g": 1234, "h": 0}
    assert stat.S_IMODE((tmp_path / "d/h").stat().st_mode) == 0o4755
    assert stat.S_IMODE((tmp_path / "d/c").stat().st_mode) == 0o644
