"""The script ``wherry-runtime``: by an interpreter that is kept on a read-only mount."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.conformance.bundles import Bundles, base_config
from tests.conformance.conftest import oci, oci_layer

import wherry
from wherry.runtime.kept import KEPT
from wherry.sys import mount as m

__all__ = ["oci", "oci_layer"]

pytestmark = pytest.mark.root

SCRIPT = Path(__file__).parents[3] / "scripts/wherry-runtime"


class Installed:
    """A virtual environment with the package, as pip would have installed it."""

    def __init__(self, directory: Path) -> None:
        venv.create(directory, symlinks=True)
        self.python = directory / "bin/python3"
        self.program = directory / "bin/wherry-runtime"
        self.kept = Path(f"{KEPT}{self.python}")
        shutil.copy(SCRIPT, self.program)
        (directory / "bin/wherry").write_text(f"#!{self.python}\n")
        (packages,) = directory.glob("lib/python*/site-packages")
        places = {Path(module.__file__ or "").parents[1] for module in (wherry, msgspec)}
        (packages / "places.pth").write_text("".join(f"{place}\n" for place in places))

    def create(self, oci: Bundles) -> int:
        """Create a container; the pid of its init, which is this interpreter until the start."""
        name, where = oci.bundle(base_config("true"))
        command = [self.program, *oci.command()[-2:], "create", "--bundle", str(where), name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return int(json.loads(oci.call("state", name).stdout)["pid"])

    def is_kept(self) -> bool:
        return self.kept.exists() and self.kept.samefile(self.python)

    def remove(self) -> None:
        while self.kept.exists() and self.kept.stat().st_size:
            m.umount2(str(self.kept))
        shutil.rmtree(f"{KEPT}{self.python.parents[1]}", ignore_errors=True)


@pytest.fixture
def installed() -> Iterator[Installed]:
    """Not in the test's own directory: others' mount namespaces that are made meanwhile have copies
    of the mount, and are not what the test left behind."""
    with tempfile.TemporaryDirectory(prefix="kept-") as directory:
        made = Installed(Path(directory))
        yield made
        made.remove()


def _interpreter(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/exe")


def _is_read_only(pid: int) -> bool:
    return bool(os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY)


def test_the_first_call_keeps_it_and_the_next_are_executed_by_it(
    installed: Installed, oci: Bundles
) -> None:
    first = installed.create(oci)
    assert _interpreter(first) != str(installed.kept)
    assert _is_read_only(first)
    assert installed.is_kept()
    second = installed.create(oci)
    assert _interpreter(second) == str(installed.kept)
    assert _is_read_only(second)


def test_the_modules_are_remembered_until_one_changes(installed: Installed, oci: Bundles) -> None:
    installed.create(oci)
    file = Path(f"{installed.kept}.modules")
    assert not file.exists()
    installed.create(oci)
    first = file.stat()
    assert (first.st_uid, first.st_mode & 0o777) == (0, 0o644)
    installed.create(oci)
    assert file.stat().st_mtime_ns == first.st_mtime_ns
    file.write_bytes(file.read_bytes()[:1000])
    installed.create(oci)
    assert file.stat().st_size == first.st_size


def test_nothing_of_the_callers_environment_but_the_path(
    installed: Installed, oci: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.create(oci)
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    environment = Path(f"/proc/{installed.create(oci)}/environ").read_bytes()
    assert environment == b"PATH=%b\0" % os.fsencode(os.environ["PATH"])


def test_an_interpreter_that_was_replaced_is_kept_anew(installed: Installed, oci: Bundles) -> None:
    installed.create(oci)
    replaced = installed.python.parent / "another"
    shutil.copy(installed.python.resolve(), replaced)
    installed.python.unlink()
    installed.python.symlink_to(replaced)
    assert not installed.is_kept()
    assert _is_read_only(installed.create(oci))
    assert installed.is_kept()


def test_a_mount_that_can_be_written_to_is_not_trusted(installed: Installed, oci: Bundles) -> None:
    installed.create(oci)
    m.umount2(str(installed.kept))
    m.mount(str(installed.python), str(installed.kept), flags=m.MS_BIND)
    assert installed.is_kept()
    assert _is_read_only(installed.create(oci))


def test_one_that_somebody_has_unmounted_is_mounted_again(
    installed: Installed, oci: Bundles
) -> None:
    installed.create(oci)
    m.umount2(str(installed.kept))
    assert not installed.is_kept()
    assert _is_read_only(installed.create(oci))
    assert installed.is_kept()


def test_it_is_found_through_links_and_from_its_own_directory(installed: Installed) -> None:
    link = installed.program.parents[1] / "link"
    link.symlink_to(installed.program)
    for command, directory in ((str(link), "/"), ("./wherry-runtime", installed.program.parent)):
        done = subprocess.run(
            [command, "--version"], cwd=directory, check=True, capture_output=True, text=True
        )
        assert done.stdout.startswith("wherry-runtime version ")
    assert installed.is_kept()


def test_where_nothing_can_be_mounted_it_works_all_the_same(installed: Installed) -> None:
    unshared = ["unshare", "--user", "--map-root-user", installed.program, "features"]
    done = subprocess.run(unshared, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["ociVersionMax"]
    assert not installed.is_kept()
