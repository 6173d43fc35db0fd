"""Filters that a command of ``wherry-runtime`` compiled are used by the next one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from wherry.model.runtime_spec import LinuxSeccomp, LinuxSyscall
from wherry.runtime.oci.kept_filters import KeptFilters
from wherry.runtime.seccomp import compiler
from wherry.runtime.seccomp.compiler import compile_filter

pytestmark = pytest.mark.root

PROFILE = LinuxSeccomp(
    default_action="SCMP_ACT_ALLOW",
    syscalls=(LinuxSyscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_ERRNO"),),
)
OTHER = msgspec.structs.replace(PROFILE, default_action="SCMP_ACT_LOG")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[LinuxSeccomp]:
    """The profiles that are compiled from now on."""
    found: list[LinuxSeccomp] = []

    def note(profile: LinuxSeccomp) -> bytes:
        found.append(profile)
        return compile_filter(profile)

    monkeypatch.setattr(compiler, "compile_filter", note)
    return found


def kept_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_the_next_command_need_not_compile(tmp_path: Path, compiled: list[LinuxSeccomp]) -> None:
    directory = tmp_path / "filters"
    first = KeptFilters(str(directory)).program(PROFILE)
    assert first == compile_filter(PROFILE)
    assert KeptFilters(str(directory)).program(PROFILE) == first
    assert compiled == [PROFILE]
    assert KeptFilters(str(directory)).program(OTHER) == compile_filter(OTHER) != first


def _writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def _of_somebody_else(path: Path) -> None:
    os.chown(path, 1000, 0)


def _a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [_writable_by_others, _of_somebody_else, _a_link, _cut, _empty])
def test_what_cannot_be_trusted_is_compiled_again(
    tmp_path: Path, compiled: list[LinuxSeccomp], change: Callable[[Path], None]
) -> None:
    KeptFilters(str(tmp_path)).program(PROFILE)
    change(kept_file(tmp_path))
    assert KeptFilters(str(tmp_path)).program(PROFILE) == compile_filter(PROFILE)
    assert len(compiled) == 2
    KeptFilters(str(tmp_path)).program(PROFILE)
    assert len(compiled) == 2  # the file was put right


def test_a_filter_of_another_profile_by_the_same_name_is_not_used(
    tmp_path: Path, compiled: list[LinuxSeccomp]
) -> None:
    KeptFilters(str(tmp_path)).program(OTHER)
    wrong = kept_file(tmp_path).rename(tmp_path / "wrong")
    KeptFilters(str(tmp_path)).program(PROFILE)
    (right,) = (path for path in tmp_path.iterdir() if path != wrong)
    wrong.rename(right)
    assert KeptFilters(str(tmp_path)).program(PROFILE) == compile_filter(PROFILE)
    assert compiled == [OTHER, PROFILE, PROFILE]


def test_another_compiler_compiles_for_itself(
    tmp_path: Path, compiled: list[LinuxSeccomp], monkeypatch: pytest.MonkeyPatch
) -> None:
    KeptFilters(str(tmp_path)).program(PROFILE)
    monkeypatch.setattr("wherry.runtime.oci.kept_filters._compiler", lambda: ())
    KeptFilters(str(tmp_path)).program(PROFILE)
    assert len(compiled) == 2


def test_there_are_never_many(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}").touch()
    KeptFilters(str(tmp_path)).program(PROFILE)
    assert len(list(tmp_path.iterdir())) == 1


def test_where_nothing_can_be_kept_it_is_compiled(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert KeptFilters(f"{tmp_path}/file/filters").program(PROFILE) == compile_filter(PROFILE)
