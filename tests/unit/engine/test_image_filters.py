"""Filters of image lists and prunes, on images that are only described."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from wherry.engine.images.filters import list_tests, prune_tests
from wherry.engine.images.times import created_ns, listed_ns
from wherry.errors import InvalidArgument, NotFound
from wherry.model.digest import digest_of
from wherry.model.image import ExecConfig, History, ImageConfig, RootFs
from wherry.store.api import Image


def image(name: str, second: int, labels: dict[str, str] | None = None) -> Image:
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        rootfs=RootFs(type="layers", diff_ids=()),
        created=f"2024-01-01T00:00:{second:02}.5Z" if second else "",
        config=ExecConfig(labels=labels),
    )
    references = (f"docker.io/library/{name}",) if name else ()
    return Image(
        id=digest_of(f"{name}{second}".encode()),
        config=config,
        references=references,
        repo_digests=(),
        layers=(),
        created_ns=0,
    )


IMAGES = {
    "old:1": image("old:1", 1, {"stage": "test"}),
    "new:1": image("new:1", 2, {"stage": "release", "by": "me"}),
    "": image("", 3),
    "timeless:2": image("timeless:2", 0),
}


def get(name: str) -> Image:
    if name not in IMAGES:
        raise NotFound(f"No such image: {name}")
    return IMAGES[name]


def listed(filters: dict[str, Any]) -> set[str]:
    tests = list_tests(filters, get)
    return {name for name, one in IMAGES.items() if all(test(one) for test in tests)}


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, set(IMAGES)),
        ({"dangling": ("true",)}, {""}),
        ({"dangling": ("false",)}, {"old:1", "new:1", "timeless:2"}),
        ({"label": ("stage",)}, {"old:1", "new:1"}),
        ({"label": ("stage=release", "by=me")}, {"new:1"}),
        ({"label!": ("stage=test",)}, {"new:1", "", "timeless:2"}),
        ({"before": ("new:1",)}, {"old:1", "timeless:2"}),
        ({"since": ("old:1",)}, {"new:1", ""}),
        ({"reference": ("*:1",)}, {"old:1", "new:1"}),
        ({"reference": ("old", "time*")}, {"old:1", "timeless:2"}),
        ({"until": ("2024-01-01T00:00:02Z",)}, {"old:1", "timeless:2"}),
    ],
)
def test_lists(filters: dict[str, Any], names: set[str]) -> None:
    assert listed(filters) == names


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, {""}),
        ({"dangling": ("false",)}, set(IMAGES)),
        ({"dangling": ("0",), "until": ("1704067201.6",)}, {"old:1", "timeless:2"}),
        ({"dangling": ("0",), "label!": ("by",)}, {"old:1", "", "timeless:2"}),
    ],
)
def test_prunes(filters: dict[str, Any], names: set[str]) -> None:
    tests = prune_tests(filters)
    assert {name for name, one in IMAGES.items() if all(test(one) for test in tests)} == names


@pytest.mark.parametrize("filters", [{"before": ("gone",)}, {"since": ("gone",)}])
def test_comparisons_with_what_is_not_there(filters: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="No such image: gone"):
        list_tests(filters, get)


@pytest.mark.parametrize(
    "filters", [{"colour": ("red",)}, {"dangling": ("perhaps",)}, {"until": ("soon",)}]
)
def test_what_is_no_filter(filters: dict[str, Any]) -> None:
    for read in (lambda: list_tests(filters, get), lambda: prune_tests(filters)):
        with pytest.raises(InvalidArgument):
            read()


def test_an_image_that_was_made_here_is_as_old_as_its_making() -> None:
    """Its configuration has a fixed time, by which a prune would take what was just built."""
    built = msgspec.structs.replace(
        IMAGES["old:1"],
        created_ns=time.time_ns(),
        config=msgspec.structs.replace(
            IMAGES["old:1"].config, history=(History(comment="wherry.build"),)
        ),
    )
    assert listed_ns(built) == built.created_ns
    tests = prune_tests({"dangling": ("false",), "until": ("1h",)})
    assert not all(test(built) for test in tests)


def test_times() -> None:
    assert created_ns(IMAGES["old:1"]) == 1_704_067_201_500_000_000
    assert created_ns(IMAGES["timeless:2"]) == 0
