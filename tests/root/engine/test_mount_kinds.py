"""Volumes with options, parts of volumes, images and tmpfs as mounts, owners that are mapped."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.patience import patience

from wherry.errors import Conflict, InvalidArgument, NotFound, NotSupported
from wherry.model.container import (
    BindOptions,
    ContainerConfig,
    DriverConfig,
    HostConfig,
    ImageOptions,
    MountRequest,
    NetworkingConfig,
    TmpfsOptions,
    VolumeOptions,
)

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=2m,mode=0750,uid=7"}


def with_mounts(*mounts: MountRequest, **host: Any) -> HostConfig:
    return HostConfig(network_mode="none", mounts=mounts, **host)


def volume(name: str, target: str = "/v", **options: Any) -> MountRequest:
    return MountRequest(
        type="volume", source=name, target=target, volume_options=VolumeOptions(**options)
    )


def succeed(engine: Any, script: str, *mounts: MountRequest, **config: Any) -> str:
    outcome = engine.run("sh", "-c", script, host=with_mounts(*mounts), **config)
    assert (outcome.code, outcome.stderr) == (0, b""), outcome
    return outcome.stdout.decode().strip()


def is_mounted(path: str) -> bool:
    return any(line.split()[4] == path for line in open("/proc/self/mountinfo"))


# --- volumes with options -------------------------------------------------------------------


def test_containers_share_one_tmpfs_until_the_last_ends(engine: Any) -> None:
    api = engine.engine
    made = api.volumes.create("shared", options=TMPFS)
    first = engine.create("sleep", "600", host=with_mounts(volume("shared")))
    assert not is_mounted(made.path)
    assert api.volumes.usage("shared") == -1
    api.containers.start(first)
    Path(made.path, "file").write_text("one")
    script = "cat /v/file; stat -c %a:%u /v; df -k /v | tail -1 | awk '{print $2}'"
    assert succeed(engine, script, volume("shared")) == "one750:7\n2048"
    assert Path(made.path, "file").read_text() == "one"
    assert api.volumes.usage("shared") > 0
    api.containers.remove(first, force=True)
    assert not is_mounted(made.path)
    assert succeed(engine, "ls /v", volume("shared")) == ""
    api.volumes.remove("shared")
    assert not os.path.exists(made.path)


def test_a_mounted_volume_outlives_the_engine(engine: Any) -> None:
    """A second engine over the same data, as after a kill, takes up what it finds."""
    api = engine.engine
    made = api.volumes.create("kept", options=TMPFS)
    container = engine.create("sleep", "600", host=with_mounts(volume("kept")))
    api.containers.start(container)
    api.volumes.reconcile({"kept": [container]})
    assert is_mounted(made.path)
    api.containers.remove(container, force=True)
    assert not is_mounted(made.path)
    with api.volumes.content("kept"):
        assert is_mounted(made.path)
        api.volumes.reconcile({})
        assert not is_mounted(made.path)
    api.volumes.remove("kept")


def test_a_bind_as_a_volume(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    options = {"type": "none", "o": "bind", "device": str(tmp_path)}
    made = api.volumes.create("bound", options=options)
    assert made.options == options
    assert succeed(engine, "echo x > /etc/new; ls /etc/passwd", volume("bound", "/etc"))
    assert (tmp_path / "passwd").exists()  # an empty volume takes the image's content
    assert (tmp_path / "new").read_text() == "x\n"
    assert not is_mounted(made.path)
    api.volumes.create("fixed", options=options | {"o": "bind,ro"})
    outcome = engine.run("touch", "/v/y", host=with_mounts(volume("fixed")))
    assert b"Read-only" in outcome.stderr
    api.volumes.remove("bound")
    api.volumes.remove("fixed")
    assert (tmp_path / "new").exists()


def test_what_cannot_be_mounted_is_said_and_leaves_nothing(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    image = tmp_path / "image"
    image.write_bytes(b"\0" * 4096)
    for number, (options, words) in enumerate(
        (
            ({"type": "nosuchfs", "device": "x"}, "this kernel has no file system 'nosuchfs'"),
            ({"type": "ext4", "device": str(image)}, "no block device.*losetup"),
            ({"type": "tmpfs", "device": "t", "o": "size=lots"}, "refuses it .*size=lots"),
            ({"type": "none", "device": "/nosuch", "o": "bind"}, "/nosuch: no such directory"),
        )
    ):
        made = api.volumes.create(f"bad{number}", options=options)
        container = engine.create("true", host=with_mounts(volume(made.name, no_copy=True)))
        with pytest.raises((InvalidArgument, NotSupported), match=words):
            api.containers.start(container)
        assert not is_mounted(made.path)
        api.containers.remove(container)
        api.volumes.remove(made.name)


def test_a_driver_s_options_by_mount(engine: Any) -> None:
    config = DriverConfig(name="local", options=TMPFS)
    mount = volume("made", driver_config=config, labels={"a": "b"})
    assert succeed(engine, "stat -c %u /v", mount) == "7"
    made = engine.engine.volumes.get("made")
    assert (made.options, made.labels) == (TMPFS, {"a": "b"})
    engine.engine.volumes.remove("made")


def test_files_go_in_and_out_of_a_stopped_container_s_volume(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    api.volumes.create("bound", options={"type": "none", "o": "bind", "device": str(tmp_path)})
    container = engine.create("true", host=with_mounts(volume("bound", no_copy=True)))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("in")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    archive.seek(0)
    api.files.put(container, "/v", archive, keep_types=False, container_user=False)
    assert (tmp_path / "in").read_bytes() == b"abc"
    assert api.files.stat(container, "/v/in").size == 3
    api.containers.remove(container)
    api.volumes.remove("bound")


# --- parts of volumes -----------------------------------------------------------------------


def test_a_part_of_a_volume(engine: Any) -> None:
    api = engine.engine
    made = api.volumes.create("parts")
    Path(made.path, "a/b").mkdir(parents=True)
    Path(made.path, "a/b/file").write_text("inner")
    Path(made.path, "link").symlink_to("/a/b")
    assert succeed(engine, "ls /v", volume("parts", subpath="a/b")) == "file"
    assert succeed(engine, "cat /v", volume("parts", subpath="a/b/file")) == "inner"
    # A link is resolved in the volume, whatever it says.
    assert succeed(engine, "ls /v", volume("parts", subpath="link")) == "file"
    container = engine.create("true", host=with_mounts(volume("parts", subpath="a/nosuch")))
    with pytest.raises(NotFound, match="a/nosuch"):
        api.containers.start(container)
    api.containers.remove(container)
    for bad in ("/a", "../a", "a/../../b"):
        with pytest.raises(InvalidArgument, match="must be a relative path"):
            engine.create("true", host=with_mounts(volume("parts", subpath=bad)))
    api.volumes.remove("parts")


@pytest.mark.parametrize("target", ["/", "/etc", "../../../../etc", "/proc/self/root/etc"])
def test_a_part_never_leads_out_of_its_volume(engine: Any, target: str) -> None:
    """A container that owns the volume has put a link where the part is to be."""
    made = engine.engine.volumes.create("hostile")
    Path(made.path, "part").symlink_to(target)
    Path(made.path, "mark").touch()
    container = engine.create("ls", "/v", host=with_mounts(volume("hostile", subpath="part")))
    if target == "/":
        outcome = engine.run("ls", "/v", host=with_mounts(volume("hostile", subpath="part")))
        assert b"mark" in outcome.stdout
    else:
        with pytest.raises(NotFound):
            engine.engine.containers.start(container)
    engine.engine.containers.remove(container)
    engine.engine.volumes.remove("hostile")


# --- images and tmpfs -----------------------------------------------------------------------


def image(target: str, subpath: str = "") -> MountRequest:
    options = ImageOptions(subpath=subpath)
    return MountRequest(type="image", source="busybox", target=target, image_options=options)


def test_an_image_as_a_mount(engine: Any) -> None:
    script = "/i/bin/busybox true && cat /p | head -1 | cut -d: -f1; touch /i/x 2>&1 | cut -d: -f3"
    found = succeed(engine, script, image("/i"), image("/p", "etc/passwd"))
    assert found == "root\n Read-only file system"
    container = engine.create("true", host=with_mounts(image("/i"), image("/e", "etc")))
    mounts = engine.engine.containers.get(container).mounts
    assert [(m.type, m.source, m.rw) for m in mounts] == [("image", "busybox", False)] * 2
    assert engine.engine.files.stat(container, "/e/passwd").size > 0
    engine.engine.containers.remove(container)
    with pytest.raises(NotFound, match="No such image"):
        engine.create("true", host=with_mounts(MountRequest(type="image", source="x", target="/i")))


@pytest.mark.parametrize("release", ["", "6.1"])
def test_an_image_of_several_layers(
    release: str, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older kernels mount layers where something is, for a moment; the engine does it for files of
    a container that does not run."""
    from wherry.engine.api import CommitOptions

    if release:
        monkeypatch.setattr("wherry.sys.overlay._RELEASE", tuple(map(int, release.split("."))))
    api = engine.engine
    base = engine.create("sh", "-c", "mkdir /new; echo hi > /new/file; rm /etc/passwd")
    api.containers.start(base)
    api.containers.wait(base).result(patience(30))
    api.commits.commit(base, CommitOptions(repository="two"))
    api.containers.remove(base)
    mounts = [
        MountRequest(type="image", source="two", target="/i"),
        MountRequest(
            type="image", source="two", target="/f", image_options=ImageOptions(subpath="new/file")
        ),
        # The engine covers its own /proc while it puts a tree together.
        MountRequest(type="bind", source="/proc", target="/p", read_only=True),
    ]
    assert succeed(engine, "cat /f /i/new/file; ls /i/etc | grep passwd || true", *mounts) == (
        "hi\nhi"
    )
    container = engine.create("true", host=with_mounts(*mounts))
    with pytest.raises(Conflict, match="image is being used by stopped container"):
        api.images.remove("two")
    assert api.files.stat(container, "/f").size == 3
    assert api.files.stat(container, "/p/meminfo").name == "meminfo"
    api.containers.remove(container)
    api.images.remove("two")


def test_a_tmpfs_with_its_options(engine: Any) -> None:
    options = TmpfsOptions(size_bytes=1 << 20, mode=0o711, options=(("exec",), ("uid", "5")))
    mount = MountRequest(type="tmpfs", target="/t", tmpfs_options=options)
    script = "stat -c %a:%u /t; grep ' /t ' /proc/mounts"
    found = succeed(engine, script, mount)
    assert found.startswith("711:5\n")
    assert "size=1024k" in found
    assert "noexec" not in found
    assert "nosuid,nodev" in found
    bad = TmpfsOptions(options=(("uid", "5,size=1"),))
    with pytest.raises(InvalidArgument, match="bad option"):
        engine.create(
            "true", host=with_mounts(MountRequest(type="tmpfs", target="/t", tmpfs_options=bad))
        )


# --- binds ----------------------------------------------------------------------------------


def bind(source: Path, **options: Any) -> MountRequest:
    read_only = options.pop("read_only", False)
    return MountRequest(
        type="bind",
        source=str(source),
        target="/b",
        read_only=read_only,
        bind_options=BindOptions(**options),
    )


def test_the_source_s_owner_appears_as_the_container_s_user(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    (tmp_path / "root's").write_text("x")
    for path in (tmp_path, tmp_path / "theirs"):
        os.chown(path, 4321, 4322)
    mount = bind(tmp_path, id_map="match-user")
    script = 'stat -c %u:%g /b /b/theirs "/b/root\'s"; touch /b/made'
    assert succeed(engine, script, mount, user="1000:1001").split() == [
        "1000:1001", "1000:1001", "0:0",
    ]  # fmt: skip
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (4321, 4322)
    assert succeed(engine, script, mount).split() == ["0:0", "0:0", "4321:4322"]


def test_explicit_maps_of_owners(engine: Any, tmp_path: Path) -> None:
    os.chown(tmp_path, 1000, 50)
    mount = bind(tmp_path, id_map="uids=7-1000-1;gids=8-50-2#100-200-1")
    assert succeed(engine, "stat -c %u:%g /b", mount) == "7:8"
    for bad in ("uids=1-2", "gids=0-0-1", "uids=0-0-0", "uids=0-1-2#1-5-1", "me"):
        with pytest.raises(InvalidArgument, match="invalid id map"):
            engine.create("true", host=with_mounts(bind(tmp_path, id_map=bad)))


def test_owners_are_mapped_by_a_volume_s_options(engine: Any, tmp_path: Path) -> None:
    os.chown(tmp_path, 4321, 4321)
    options = {"type": "none", "o": "bind,idmap=match-user", "device": str(tmp_path)}
    engine.engine.volumes.create("mapped", options=options)
    mount = volume("mapped", no_copy=True)
    assert succeed(engine, "touch /v/f; stat -c %u /v /v/f", mount, user="9:9").split() == ["9"] * 2
    assert (tmp_path / "f").stat().st_uid == 4321
    engine.engine.volumes.remove("mapped")


def test_a_file_system_that_cannot_map_owners(engine: Any) -> None:
    container = engine.create("true", host=with_mounts(bind(Path("/proc"), id_map="match-user")))
    with pytest.raises(NotSupported, match="cannot map the owners of /proc"):
        engine.engine.containers.start(container)
    engine.engine.containers.remove(container)


def test_how_far_read_only_reaches(engine: Any, tmp_path: Path) -> None:
    from wherry.sys import mount as m

    (tmp_path / "below").mkdir()
    m.mount("tmpfs", str(tmp_path / "below"), "tmpfs")
    try:
        script = "touch /b/x 2>/dev/null; touch /b/below/x 2>/dev/null && echo below; ls /b"
        for options, found in (
            ({}, "below"),
            ({"read_only_non_recursive": True}, "below\nbelow"),
            ({"read_only_force_recursive": True}, "below"),
            ({"non_recursive": True}, "below"),
        ):
            assert succeed(engine, script, bind(tmp_path, read_only=True, **options)) == found
            (tmp_path / "below/x").unlink(missing_ok=True)
    finally:
        m.umount2(str(tmp_path / "below"))
    for options, words in (
        ({"read_only_force_recursive": True}, "needs ReadOnly"),
        ({"propagation": "odd"}, "invalid propagation mode"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            engine.create("true", host=with_mounts(bind(tmp_path, **options)))


def test_what_is_refused_by_name(engine: Any) -> None:
    for request, words in (
        (MountRequest(type="cluster", source="x", target="/v"), '"cluster" need a swarm'),
        (MountRequest(type="npipe", source="x", target="/v"), '"npipe" need Windows'),
        (MountRequest(type="odd", source="x", target="/v"), "mount type unknown"),
        (MountRequest(type="volume", target="/v", bind_options=BindOptions()), "BindOptions"),
        (MountRequest(type="volume", target="/v", consistency="odd"), "consistency"),
    ):
        with pytest.raises((InvalidArgument, NotSupported), match=words):
            engine.create("true", host=with_mounts(request))
    assert engine.run("true", host=with_mounts(
        MountRequest(type="tmpfs", target="/v", consistency="cached"))).code == 0  # fmt: skip


def test_the_mounts_of_another_container(engine: Any, tmp_path: Path) -> None:
    api = engine.engine
    made = api.volumes.create("vv")
    Path(made.path, "part").mkdir()
    first = engine.create(
        "true", host=with_mounts(volume("vv", subpath="part"), bind(tmp_path), image("/i"))
    )
    host = HostConfig(network_mode="none", volumes_from=(f"{first}:ro",))
    outcome = engine.run("sh", "-c", "touch /v/x /b/x; ls /i/etc/passwd", host=host)
    assert outcome.stderr.count(b"Read-only") == 2
    assert outcome.stdout == b"/i/etc/passwd\n"
    host = HostConfig(network_mode="none", volumes_from=(first,))
    assert engine.run("touch", "/v/x", host=host).code == 0
    assert os.listdir(Path(made.path, "part")) == ["x"]
    api.containers.remove(first)
    api.volumes.remove("vv")


def test_mounts_are_no_changes_of_the_container(engine: Any, tmp_path: Path) -> None:
    """Neither in a diff, nor in a commit, nor in an export; what is beside them is."""
    from wherry.engine.api import CommitOptions

    api = engine.engine
    api.volumes.create("vol")
    tmpfs = MountRequest(type="tmpfs", target="/t")
    mounts = (volume("vol", "/data/db", no_copy=True), bind(tmp_path), tmpfs, image("/i/j"))
    script = "for d in /data/db /b /t /data /tmp; do echo x > $d/file; done"
    container = engine.create("sh", "-c", script, host=with_mounts(*mounts))
    api.containers.start(container)
    assert api.containers.wait(container).result(patience(30)).exit_code == 0
    assert api.containers.changes(container) == (
        (1, "/data"),
        (1, "/data/file"),
        (0, "/tmp"),
        (1, "/tmp/file"),
    )
    archive = io.BytesIO()
    api.files.export(container, archive.write)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        names = set(tar.getnames())
    assert {"data/file", "tmp/file"} <= names
    assert not {"data/db/file", "b/file", "t/file", "i/j/etc/passwd"} & names
    api.commits.commit(container, CommitOptions(repository="committed"))
    api.containers.remove(container)
    made = api.containers.create(
        "", ContainerConfig(image="committed", cmd=("ls", "/", "/data")),
        HostConfig(network_mode="none"), NetworkingConfig(),
    ).id  # fmt: skip
    layer = api.image_store.get("committed").layers[-1]
    with tarfile.open(fileobj=io.BytesIO(b"".join(api.image_store.layer_tar(layer)))) as tar:
        assert sorted(tar.getnames()) == ["data", "data/file", "tmp", "tmp/file"]
    api.containers.remove(made)
    api.images.remove("committed")
    api.volumes.remove("vol")


def test_a_deep_tree_is_compared(engine: Any) -> None:
    script = "mkdir -p /tmp/$(yes d | head -1500 | tr '\\n' /) && touch /tmp/d/d/d/file"
    container = engine.create("sh", "-c", script)
    engine.engine.containers.start(container)
    assert engine.engine.containers.wait(container).result(patience(30)).exit_code == 0
    found = engine.engine.containers.changes(container)
    assert (1, "/tmp/d/d/d/file") in found
    assert len(found) == 1502
    engine.engine.containers.remove(container)
