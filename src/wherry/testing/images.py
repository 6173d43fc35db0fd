"""What every implementation of :class:`wherry.store.api.Images` has to do.

Subclass in a test module and give it the fixtures ``images`` and ``snapshots``, the Snapshotter
that is behind it. Needs root.
"""

from __future__ import annotations

import hashlib
import io
import tarfile

import msgspec
import pytest

from wherry.errors import DataCorrupt, InvalidArgument, NotFound
from wherry.model.digest import Digest, digest_of
from wherry.model.image import ImageConfig, RootFs, chain_ids
from wherry.model.reference import Reference, parse_reference
from wherry.snapshot.api import Snapshotter
from wherry.store.api import Image, Images, LayerRecord
from wherry.testing.snapshots import keys, mounted


def tar_of(**files: str) -> bytes:
    """A layer with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content.encode())
            tar.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def sha256(data: bytes) -> Digest:
    """The digest of these bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def unpack(images: Images, parent: LayerRecord | None = None, **files: str) -> LayerRecord:
    """Unpack a layer with these files on top of another."""
    data = tar_of(**files)
    below = parent.chain_id if parent else None
    return images.apply_layer(io.BytesIO(data), parent=below, expected_diff_id=sha256(data))


def config_of(*layers: LayerRecord, author: str = "") -> bytes:
    """A configuration for these layers."""
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        author=author,
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
    )
    return msgspec.json.encode(config)


def add(
    images: Images, *layers: LayerRecord, names: tuple[str, ...] = (), author: str = ""
) -> Image:
    """Record an image with these layers and names."""
    return images.add(
        config_of(*layers, author=author), layers, references=[parse_reference(n) for n in names]
    )


def reference(text: str) -> Reference:
    """A familiar name."""
    return parse_reference(text)


class ImagesContract:
    """The contract, one promise a test."""

    def test_a_layer_is_unpacked_and_named_by_its_chain(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        base = unpack(images, one="1")
        top = unpack(images, base, two="2")
        assert base.diff_id == base.chain_id == sha256(tar_of(one="1"))
        assert top.chain_id == chain_ids((base.diff_id, top.diff_id))[1]
        assert top.size == len(tar_of(two="2"))
        with mounted(snapshots, top.chain_id) as root:
            assert (root / "one").read_text() == "1"
            assert (root / "two").read_text() == "2"

    def test_another_diff_id_leaves_nothing(self, images: Images, snapshots: Snapshotter) -> None:
        with pytest.raises(DataCorrupt, match="expected"):
            images.apply_layer(
                io.BytesIO(tar_of(a="a")), parent=None, expected_diff_id=digest_of(b"other")
            )
        assert keys(snapshots) == set()

    def test_a_damaged_stream_leaves_nothing(self, images: Images, snapshots: Snapshotter) -> None:
        data = tar_of(a="a" * 5000)[:3000]
        with pytest.raises(DataCorrupt, match="ends in the middle"):
            images.apply_layer(io.BytesIO(data), parent=None, expected_diff_id=None)
        assert keys(snapshots) == set()

    def test_a_layer_that_is_there_is_only_verified(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        data = tar_of(a="a")
        diff_id = sha256(data)
        first = images.apply_layer(io.BytesIO(data), parent=None, expected_diff_id=diff_id)
        again = images.apply_layer(io.BytesIO(data), parent=None, expected_diff_id=diff_id)
        assert first == again
        with pytest.raises(DataCorrupt, match="expected"):
            images.apply_layer(io.BytesIO(data[:-512]), parent=None, expected_diff_id=first.diff_id)
        assert keys(snapshots) == {first.chain_id}

    def test_a_stream_without_a_diff_id_becomes_a_layer_of_ours(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        made = [
            images.apply_layer(io.BytesIO(data), parent=None, expected_diff_id=None)
            for data in (tar_of(a="a", b="b"), tar_of(b="b", a="a") + bytes(5120))
        ]
        assert made[0] == made[1]
        data = b"".join(images.layer_tar(made[0]))
        assert (sha256(data), len(data)) == (made[0].diff_id, made[0].size)
        assert keys(snapshots) == {made[0].chain_id}

    def test_a_parent_has_to_be_there(self, images: Images, snapshots: Snapshotter) -> None:
        with pytest.raises(NotFound):
            images.apply_layer(
                io.BytesIO(tar_of(a="a")), parent=digest_of(b"nosuch"), expected_diff_id=None
            )
        assert keys(snapshots) == set()

    def test_changes_become_a_layer(self, images: Images, snapshots: Snapshotter) -> None:
        base = unpack(images, one="1", gone="gone")
        snapshots.prepare("step", base.chain_id)
        with mounted(snapshots, "step") as root:
            (root / "two").write_text("2")
            (root / "gone").unlink()
            (root / "proc").mkdir()
        before = b"".join(images.changes_tar("step", exclude=["/proc"]))
        layer = images.commit_layer("step", exclude=["/proc"])
        assert layer is not None
        assert "step" not in keys(snapshots)
        data = b"".join(images.layer_tar(layer))
        assert sha256(data) == layer.diff_id
        assert len(data) == layer.size
        assert data == before == b"".join(images.layer_tar(layer))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert tar.getnames() == [".wh.gone", "two"]
        with mounted(snapshots, layer.chain_id) as root:
            assert sorted(path.name for path in root.iterdir()) == ["one", "two"]

    def test_no_changes_are_no_layer(self, images: Images, snapshots: Snapshotter) -> None:
        base = unpack(images, one="1")
        snapshots.prepare("step", base.chain_id)
        with mounted(snapshots, "step") as root:
            (root / "etc").mkdir()
        assert b"".join(images.changes_tar("step", exclude=["/etc"])) == b""
        assert images.commit_layer("step", exclude=["/etc"]) is None
        assert keys(snapshots) == {base.chain_id}

    def test_the_same_changes_are_the_same_layer(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        made = []
        for key in ("first", "second"):
            snapshots.prepare(key, None)
            with mounted(snapshots, key) as root:
                (root / "file").write_text("same")
            made.append(images.commit_layer(key, max_mtime=1000))
        assert made[0] == made[1]
        assert len(keys(snapshots)) == 1

    def test_an_image_is_found_by_its_names(self, images: Images) -> None:
        layer = unpack(images, a="a")
        image = add(images, layer, names=("app", "app:2", "example.org/team/app:3"))
        assert image.id == sha256(config_of(layer))
        assert image.chain_id == layer.chain_id
        assert image.references == (
            "docker.io/library/app:2",
            "docker.io/library/app:latest",
            "example.org/team/app:3",
        )
        hexadecimal = image.id.removeprefix("sha256:")
        for name in (
            "app", "app:latest", "docker.io/library/app:2", "example.org/team/app:3",
            image.id, hexadecimal, hexadecimal[:12], hexadecimal[:5], image.id[:20],
        ):  # fmt: skip
            assert images.get(name) == image
        assert images.list() == (image,)

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            ("nosuch", "No such image: nosuch:latest"),
            ("docker.io/library/nosuch:1", "No such image: nosuch:1"),
            ("example.org/a:1", "No such image: example.org/a:1"),
            ("sha256:" + "0" * 64, "No such image: sha256:" + "0" * 64),
            ("0" * 64, "No such image: " + "0" * 64),
            ("abcdef", "No such image: abcdef:latest"),
        ],
    )
    def test_what_is_missing_is_told_in_dockers_words(
        self, images: Images, asked: str, told: str
    ) -> None:
        with pytest.raises(NotFound) as caught:
            images.get(asked)
        assert str(caught.value) == told

    def test_malformed_names(self, images: Images) -> None:
        with pytest.raises(InvalidArgument, match="invalid reference format"):
            images.get("Not A Name")

    def test_an_ambiguous_prefix_is_refused(self, images: Images) -> None:
        layer = unpack(images, a="a")
        seen: dict[str, Image] = {}
        for number in range(20):  # there are only 16 first digits
            image = add(images, layer, author=str(number))
            digit = image.id.removeprefix("sha256:")[0]
            if digit in seen:
                break
            seen[digit] = image
        with pytest.raises(InvalidArgument, match="ambiguous"):
            images.get(f"sha256:{digit}")

    def test_a_tag_moves(self, images: Images) -> None:
        layer = unpack(images, a="a")
        first = add(images, layer, names=("app:1",))
        second = add(images, layer, names=("app:1",), author="second")
        assert images.get("app:1").id == second.id
        assert images.get(first.id).references == ()
        images.tag(first.id, reference("app:1"))
        assert images.get("app:1").id == first.id
        images.untag(reference("app:1"))
        with pytest.raises(NotFound, match="No such image: app:1"):
            images.untag(reference("app:1"))
        with pytest.raises(NotFound, match="No such image: sha256:000"):
            images.tag(Digest("sha256:" + "0" * 64), reference("app:1"))

    def test_repository_digests(self, images: Images) -> None:
        layer = unpack(images, a="a")
        manifest = digest_of(b"manifest")
        name = reference("app").with_digest(manifest)
        image = images.add(config_of(layer), [layer], repo_digest=name)
        assert image.repo_digests == (f"docker.io/library/app@{manifest}",)
        assert images.get(f"app@{manifest}") == image
        with pytest.raises(NotFound):
            images.get(f"other@{manifest}")

    def test_layers_have_to_be_those_of_the_configuration(self, images: Images) -> None:
        layer = unpack(images, a="a")
        with pytest.raises(DataCorrupt, match="names 1 layers"):
            images.add(config_of(layer), [])
        with pytest.raises(DataCorrupt, match="malformed"):
            images.add(b"{}", [layer])
        assert images.list() == ()

    def test_removal_takes_what_nothing_else_needs(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        base = unpack(images, base="base")
        one, two = unpack(images, base, one="1"), unpack(images, base, two="2")
        first, second = add(images, base, one, names=("a",)), add(images, base, two, names=("b",))
        assert images.remove(first.id) == (one.chain_id,)
        assert keys(snapshots) == {base.chain_id, two.chain_id}
        assert images.list() == (second,)
        assert images.remove(second.id) == (two.chain_id, base.chain_id)
        assert keys(snapshots) == set()
        with pytest.raises(NotFound, match="No such image"):
            images.remove(second.id)

    def test_layers_below_a_container_stay_until_it_is_gone(
        self, images: Images, snapshots: Snapshotter
    ) -> None:
        layer = unpack(images, a="a")
        image = add(images, layer)
        snapshots.prepare("container", layer.chain_id)
        assert images.remove(image.id) == ()
        assert images.collect_garbage() == ()
        with mounted(snapshots, "container") as root:
            assert (root / "a").read_text() == "a"
        snapshots.remove("container")
        assert images.collect_garbage() == (layer.chain_id,)
        assert keys(snapshots) == set()

    def test_a_lease_keeps_what_is_on_its_way(self, images: Images, snapshots: Snapshotter) -> None:
        base = unpack(images, base="base")
        old = add(images, base)
        with images.lease():
            assert unpack(images, base="base") == base
            top = unpack(images, base, top="top")
            assert images.remove(old.id) == ()
            assert images.collect_garbage() == ()
            image = add(images, base, top)
        assert images.collect_garbage() == ()
        assert images.get(image.id) == image
        unused = unpack(images, unused="unused")
        assert images.collect_garbage() == (unused.chain_id,)

    def test_an_image_without_layers(self, images: Images) -> None:
        image = add(images, names=("scratch-like",))
        assert (image.chain_id, image.size, image.layers) == (None, 0, ())
        assert images.remove(image.id) == ()
