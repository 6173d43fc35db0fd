"""Mount options and what they turn into."""

from __future__ import annotations

from wherry.runtime.plan.mount_options import NAMES, parse_options
from wherry.sys import mount as m


def test_options_of_a_file_system() -> None:
    options = parse_options(["nosuid", "noexec", "nodev", "ro", "sync", "mode=755", "size=64k"])
    assert options.data == "mode=755,size=64k"
    assert options.mount_flags == (
        m.MS_NOSUID | m.MS_NOEXEC | m.MS_NODEV | m.MS_RDONLY | m.MS_SYNCHRONOUS
    )
    assert not options.bind


def test_binds_and_their_depth() -> None:
    assert (parse_options(["bind"]).bind, parse_options(["bind"]).recursive) == (True, False)
    assert (parse_options(["rbind"]).bind, parse_options(["rbind"]).recursive) == (True, True)


def test_the_last_word_about_a_bit_wins() -> None:
    assert parse_options(["ro", "rw"]).attr_set == 0
    assert parse_options(["ro", "rw"]).attr_clr == m.MOUNT_ATTR_RDONLY
    options = parse_options(["rw", "ro"])
    assert (options.attr_set, options.attr_clr) == (m.MOUNT_ATTR_RDONLY, 0)


def test_recursive_attributes_are_apart() -> None:
    options = parse_options(["rro", "nosuid"])
    assert options.all_set == m.MOUNT_ATTR_RDONLY
    assert options.attr_set == m.MOUNT_ATTR_NOSUID


def test_setting_an_access_time_clears_the_whole_field() -> None:
    options = parse_options(["noatime"])
    assert options.attr_set == m.MOUNT_ATTR_NOATIME
    assert options.attr_clr == m.MOUNT_ATTR__ATIME
    assert parse_options(["strictatime"]).mount_flags == m.MS_STRICTATIME


def test_propagation_is_applied_afterwards_in_order() -> None:
    options = parse_options(["rprivate", "shared"])
    assert options.propagation == (m.MS_PRIVATE | m.MS_REC, m.MS_SHARED)


def test_words_of_the_runtime_are_no_data() -> None:
    options = parse_options(["tmpcopyup", "ridmap", "remount", "defaults", ""])
    assert options.copy_up
    assert options.idmap
    assert options.idmap_recursive
    assert options.remount
    assert options.data == ""


def test_names_hold_what_is_understood_and_nothing_else() -> None:
    for name in NAMES:
        assert parse_options([name]).data == ""
    assert parse_options(["uid=5"]).data == "uid=5"
