"""Which time an image has in a list."""

from __future__ import annotations

import msgspec

from wherry.engine.images.times import created_ns, listed_ns
from wherry.model.digest import digest_of
from wherry.model.image import History, ImageConfig, RootFs
from wherry.store.api import Image


def image(comment: str) -> Image:
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        rootfs=RootFs(),
        created="2024-01-02T03:04:05Z",
        history=(History(comment="wherry.build.v0"), History(comment=comment)),
    )
    return Image(
        id=digest_of(b""), config=config, layers=(), references=(), repo_digests=(), created_ns=7
    )


def test_what_was_made_here_shows_when() -> None:
    assert listed_ns(image("wherry.build.v0")) == 7
    assert listed_ns(image("wherry.bootstrap.v0")) == 7


def test_other_images_show_what_their_configuration_says() -> None:
    for comment in ("", "buildkit.dockerfile.v0"):
        assert listed_ns(image(comment)) == created_ns(image(comment)) == 1704164645 * 10**9
    bare = msgspec.structs.replace(image("").config, history=(), created="")
    assert listed_ns(msgspec.structs.replace(image(""), config=bare)) == 0
