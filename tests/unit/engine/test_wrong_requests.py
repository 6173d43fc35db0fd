"""What is refused or told when a container is made, and filters that mean nothing."""

from __future__ import annotations

import pytest

from wherry.build.cache import Known
from wherry.engine.filters import check_names
from wherry.engine.images.builds import _chooser
from wherry.engine.spec.tmpfs import check_tmpfs
from wherry.errors import InvalidArgument
from wherry.model.container import HostConfig


@pytest.mark.parametrize(
    "options", ["", "size=1m,mode=700", "ro,noexec,uid=5,gid=6", "exec,defaults,inode64,huge=never"]
)
def test_options_of_tmpfs(options: str) -> None:
    check_tmpfs(HostConfig(tmpfs={"/t": options}))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("bad", '["bad"]'),
        ("size=1m,bad=1,ro=2", '["bad=1", "ro=2"]'),
        ("bind", '["bind"]'),
        ("size", '["size"]'),
    ],
)
def test_wrong_options_of_tmpfs(options: str, shown: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_tmpfs(HostConfig(tmpfs={"/t": options}))
    assert str(caught.value) == f"invalid tmpfs option {shown}"


def test_a_wrong_value_is_told_though_there_is_nothing_to_filter() -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_names({"dangling": ["maybe", "no"]}, ("dangling",), ("dangling",))
    assert str(caught.value) == "invalid filter 'dangling=[maybe no]'"
    check_names({"dangling": ["true"]}, ("dangling",), ("dangling",))
    check_names({"dangling": []}, ("dangling",), ("dangling",))


def test_build_steps_have_no_labels() -> None:
    """``docker system prune --filter label=x`` asks for them with the build cache, too."""
    step = Known(key=b"k", layer=None, created_ns=0, used_ns=0)
    assert not _chooser({"label": ["x"]})(step, False)
    assert _chooser({"label!": ["x"]})(step, False)
