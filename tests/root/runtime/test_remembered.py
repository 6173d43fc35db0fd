"""Modules in one file: found there while their sources are what they were, and else not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wherry

pytestmark = pytest.mark.root  # only root's files are trusted

_SOURCES = Path(wherry.__file__).parents[1]


class Modules:
    """A package with a module and a library in C, and a file to remember them in."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "modules"
        self.source = directory / "lib/box/inside.py"
        self.source.parent.mkdir(parents=True)
        (self.source.parent / "__init__.py").write_text("")
        self.source.write_text("import _struct\nVALUE = 1\n")
        program = f"sys.path.insert(0, {str(directory / 'lib')!r}); import box.inside; remember"
        assert self.run(f"{program}({str(self.file)!r})") == ""

    def run(self, statements: str) -> str:
        program = (
            f"import sys; sys.path.insert(0, {str(_SOURCES)!r})\n"
            "from wherry.runtime.remembered import recall, remember\n"
            f"{statements}\n"
        )
        command = [sys.executable, "-IS", "-c", program]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def recalled(self) -> bool:
        return self.run(f"print(recall({str(self.file)!r}))") == "True\n"


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    return Modules(tmp_path)


def test_what_was_remembered_is_imported_from_there(modules: Modules) -> None:
    printed = modules.run(
        f"assert recall({str(modules.file)!r})\n"
        "import box.inside as inside, box, _struct\n"
        "print(inside.VALUE, inside.__file__, *box.__path__, inside.__package__)\n"
        "print(_struct.__spec__.origin)"
    )
    value, source, path, package, library = printed.split()
    assert (value, source, package) == ("1", str(modules.source), "box")
    assert path == str(modules.source.parent)
    assert library == "built-in" or library.endswith(".so")


def test_what_is_not_there_is_found_as_always(modules: Modules) -> None:
    (modules.source.parent / "other.py").write_text("VALUE = 2\n")
    printed = modules.run(
        f"recall({str(modules.file)!r}); import box.other, json; print(box.other.VALUE)"
    )
    assert printed == "2\n"


def test_a_source_that_has_changed(modules: Modules) -> None:
    assert modules.recalled()
    modules.source.write_text("VALUE = 22\n")
    assert not modules.recalled()


def test_a_source_of_another_time(modules: Modules) -> None:
    os.utime(modules.source, ns=(1, 1))
    assert not modules.recalled()


def test_a_source_that_is_gone(modules: Modules) -> None:
    modules.source.unlink()
    assert not modules.recalled()


def test_a_file_that_others_could_have_written(modules: Modules) -> None:
    modules.file.chmod(0o664)
    assert not modules.recalled()
    modules.file.chmod(0o644)
    assert modules.recalled()
    os.chown(modules.file, 1, 1)
    assert not modules.recalled()


@pytest.mark.parametrize("kept", [0, 1, 100, -1])
def test_a_file_that_was_cut_off(modules: Modules, kept: int) -> None:
    modules.file.write_bytes(modules.file.read_bytes()[:kept])
    assert not modules.recalled()


def test_a_link_and_no_file_at_all(modules: Modules) -> None:
    modules.file.rename(modules.file.with_name("other"))
    assert not modules.recalled()
    modules.file.symlink_to("other")
    assert not modules.recalled()


def test_that_of_another_interpreter(modules: Modules) -> None:
    data = modules.file.read_bytes()
    modules.file.write_bytes(data.replace(sys.version.encode(), b"x" * len(sys.version)))
    assert not modules.recalled()
