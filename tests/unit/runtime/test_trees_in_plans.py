"""Which operations of a plan a tree that was made beforehand takes the place of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.runtime.launch.premade import AttachTree, Premade, with_trees
from wherry.runtime.ops.devices import MakeDevice, MakeLink
from wherry.runtime.ops.mounts import BindMount, MaskPath, MountFilesystem, ReadOnlyPath
from wherry.runtime.plan.mount_options import Options

PROC = MountFilesystem("proc", "proc", "/proc", Options(), follow=False)
SYS = MountFilesystem("sysfs", "sysfs", "/sys", Options())
QUEUES = MountFilesystem("mqueue", "mqueue", "/proc/queues", Options())
KEYS, SOUND = MaskPath("/proc/keys"), MaskPath("/proc/sound")
KERNEL = ReadOnlyPath("/proc/sys")
OTHERS = (
    SYS,
    MaskPath("/sys/firmware"),
    MaskPath("/process"),
    MakeLink("/dev/fd", "/proc/self/fd"),
    MakeDevice("/dev/null", "c", 1, 3, 0o666, 0, 0),
)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def made(tree: int, *ops: MaskPath | ReadOnlyPath | MountFilesystem) -> Premade:
    return Premade(mount=PROC, ops=(PROC, *ops), absent=(), left_out=(), tree=tree)


def test_the_tree_takes_the_place_of_the_mount(tree: int) -> None:
    plan = (SYS, PROC, *OTHERS[1:], KEYS, KERNEL)

    attach = AttachTree(PROC, tree)
    assert with_trees(plan, [made(tree, KEYS, KERNEL)]) == (SYS, attach, *OTHERS[1:])


def test_what_a_plan_does_besides_follows(tree: int) -> None:
    plan = (PROC, KEYS, SYS, KERNEL, SOUND)

    assert with_trees(plan, [made(tree, KEYS)]) == (AttachTree(PROC, tree), SYS, KERNEL, SOUND)


@pytest.mark.parametrize(
    "plan",
    [
        (PROC, KERNEL, KEYS),
        (PROC, KEYS),
        (PROC, BindMount("/data", "/proc/data", Options()), KEYS, KERNEL),
        (PROC, PROC, KEYS, KERNEL),
        (MountFilesystem("proc", "proc", "/proc", Options(data="hidepid=2")), KEYS, KERNEL),
        (KEYS, PROC, KERNEL),
        (SYS,),
        (),
    ],
    ids=["order", "less", "between", "twice", "options", "before", "none", "empty"],
)
def test_another_plan_is_carried_out_as_it_is(plan: tuple[MaskPath, ...], tree: int) -> None:
    assert with_trees(plan, [made(tree, KEYS, KERNEL)]) == plan


def test_what_has_come_since_is_hidden(tree: int, tmp_path: Path) -> None:
    absent = (("keys", KEYS), ("sound", SOUND))
    premade = Premade(mount=PROC, ops=(PROC, KEYS, SOUND), absent=absent, left_out=(), tree=tree)
    (tmp_path / "sound").touch()

    assert with_trees((PROC, KEYS, SOUND, SYS), [premade]) == (AttachTree(PROC, tree), SOUND, SYS)


def test_what_was_left_out_is_done(tree: int) -> None:
    premade = Premade(
        mount=PROC, ops=(PROC, QUEUES, KEYS), absent=(), left_out=(QUEUES,), tree=tree
    )

    assert with_trees((PROC, SYS, QUEUES, KEYS), [premade]) == (
        AttachTree(PROC, tree),
        SYS,
        QUEUES,
    )
