"""What every implementation of :class:`wherry.volume.api.Volumes` has to do.

Subclass in a test module and give it a fixture ``volumes``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from wherry.errors import Conflict, InvalidArgument, NotFound, NotSupported
from wherry.volume.api import Volumes


class VolumesContract:
    """The contract, one promise a test."""

    def test_a_volume_has_a_directory(self, volumes: Volumes) -> None:
        volume = volumes.create("data", labels={"a": "b"})
        assert (volume.name, volume.driver, volume.labels) == ("data", "local", {"a": "b"})
        assert not volume.anonymous
        assert os.listdir(volume.path) == []
        assert volumes.path("data") == volume.path
        assert volumes.get("data") == volume
        assert volumes.list() == (volume,)

    def test_without_a_name_it_gets_one(self, volumes: Volumes) -> None:
        volume = volumes.create()
        assert re.fullmatch("[0-9a-f]{64}", volume.name)
        assert volume.anonymous
        assert volumes.create().name != volume.name

    def test_making_it_again_changes_nothing(self, volumes: Volumes) -> None:
        volume = volumes.create("data", labels={"a": "b"})
        Path(volume.path, "file").write_text("kept")
        assert volumes.create("data", labels={"other": "label"}) == volume
        assert os.listdir(volume.path) == ["file"]

    @pytest.mark.parametrize("name", ["a", "/etc", "..", "a/b", "a b", "_data", "x" * 256, "a\n"])
    def test_bad_names(self, volumes: Volumes, name: str) -> None:
        with pytest.raises(InvalidArgument, match="invalid characters"):
            volumes.create(name)
        assert volumes.list() == ()

    def test_what_is_not_supported_is_named(self, volumes: Volumes) -> None:
        with pytest.raises(NotFound, match='plugin "nfs" not found'):
            volumes.create("data", driver="nfs")
        with pytest.raises(NotSupported, match="size"):
            volumes.create("data", options={"size": "10m"})
        with pytest.raises(InvalidArgument, match="colour"):
            volumes.create("data", options={"colour": "red"})
        assert volumes.list() == ()

    def test_removal(self, volumes: Volumes) -> None:
        volume = volumes.create("data")
        Path(volume.path, "sub").mkdir()
        Path(volume.path, "sub", "file").write_text("gone")
        volumes.remove("data")
        assert not os.path.exists(volume.path)
        assert volumes.list() == ()
        for ask in (volumes.get, volumes.remove, volumes.path, volumes.users):
            with pytest.raises(NotFound, match="data: no such volume"):
                ask("data")

    def test_a_volume_in_use_stays(self, volumes: Volumes) -> None:
        volume = volumes.create("data")
        for container in ("c2", "c1", "c1"):
            volumes.use("data", container)
        assert volumes.users("data") == ("c1", "c2")
        with pytest.raises(Conflict, match=re.escape("volume is in use - [c1, c2]")):
            volumes.remove("data")
        assert volumes.release("c1") == (volume,)
        assert volumes.release("c1") == ()
        volumes.release("c2")
        volumes.remove("data")

    def test_using_needs_a_volume(self, volumes: Volumes) -> None:
        with pytest.raises(NotFound, match="nosuch"):
            volumes.use("nosuch", "c1")

    def test_an_empty_volume_takes_the_images_content(
        self, volumes: Volumes, tmp_path: Path
    ) -> None:
        root = tmp_path / "image"
        (root / "srv" / "sub").mkdir(parents=True)
        (root / "srv" / "file").write_text("from the image")
        (root / "srv" / "link").symlink_to("/etc/passwd")
        (root / "alias").symlink_to("/srv")
        os.chmod(root / "srv", 0o1770)
        os.utime(root / "srv" / "sub", (1000, 1000))
        path = Path(volumes.create("data").path)
        assert self.populate(volumes, root, "/alias")
        assert sorted(os.listdir(path)) == ["file", "link", "sub"]
        assert (path / "file").read_text() == "from the image"
        assert os.readlink(path / "link") == "/etc/passwd"
        assert path.stat().st_mode & 0o7777 == 0o1770
        assert (path / "sub").stat().st_mtime == 1000
        assert not self.populate(volumes, root, "/srv")

    def test_a_volume_with_content_stays_as_it_is(self, volumes: Volumes, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("from the image")
        path = Path(volumes.create("data").path)
        (path / "own").write_text("own")
        assert not self.populate(volumes, tmp_path, "/")
        assert os.listdir(path) == ["own"]

    def test_populating_from_nothing(self, volumes: Volumes, tmp_path: Path) -> None:
        volumes.create("data")
        (tmp_path / "file").write_text("no directory")
        assert not self.populate(volumes, tmp_path, "/nosuch")
        assert not self.populate(volumes, tmp_path, "/file")

    @staticmethod
    def populate(volumes: Volumes, root: Path, path: str) -> bool:
        """Populate the volume ``data`` from a directory."""
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return volumes.populate("data", fd, path)
        finally:
            os.close(fd)
