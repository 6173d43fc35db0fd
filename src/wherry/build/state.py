"""What a build has made so far: an image configuration and its layers. Pure.

Times: every step and the image itself carry one fixed time, the *epoch* of the stage, and no file
that a step makes is younger. So the same steps on the same base give the same image
(docs/formats/build-cache.md, docs/decisions/build-times.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property

import msgspec
from msgspec.structs import replace

from wherry.build.scope import DEFAULT_PATH, Args, env_dict
from wherry.errors import InvalidArgument
from wherry.model.digest import Digest, digest_of
from wherry.model.image import ExecConfig, History, ImageConfig, Platform, RootFs
from wherry.store.api import Image, LayerRecord

COMMENT = "wherry.build.v0"
_NANO = 10**9
_EARLIEST = int(datetime(1980, 1, 2, tzinfo=UTC).timestamp())
"""Seconds; zip archives, and so Python's wheels, cannot hold times before 1980."""
_LATEST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class State(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The image after a step. ``epoch`` is in seconds since 1970.

    ``base`` is the image itself, on this machine, as long as nothing has been done to it; None
    after that, and for a tree that is still empty.
    """

    image: ImageConfig
    layers: tuple[LayerRecord, ...]
    epoch: int
    base: Digest | None = None
    args: Args = {}
    cmd_set: bool = False

    @cached_property
    def config_json(self) -> bytes:
        return msgspec.json.encode(self.image)

    @cached_property
    def id(self) -> Digest:
        """The id of the image, if the build ended here."""
        return self.base or digest_of(self.config_json)

    @property
    def is_empty(self) -> bool:
        """True if nothing has been done, on nothing."""
        return not self.base and not self.image.history

    @property
    def chain_id(self) -> Digest | None:
        return self.layers[-1].chain_id if self.layers else None

    @property
    def config(self) -> ExecConfig:
        return self.image.config

    @property
    def epoch_ns(self) -> int:
        return self.epoch * _NANO

    def after(self, created_by: str, config: ExecConfig, layer: LayerRecord | None) -> State:
        """The state after one more step, with its entry in the history."""
        entry = History(
            created=_rfc3339(self.epoch),
            created_by=created_by,
            comment=COMMENT,
            empty_layer=layer is None,
        )
        layers = (*self.layers, layer) if layer else self.layers
        image = replace(
            self.image,
            config=config,
            rootfs=RootFs(diff_ids=tuple(record.diff_id for record in layers)),
            history=(*self.image.history, entry),
            created=entry.created,
        )
        return replace(self, image=image, layers=layers, base=None)


def from_scratch(platform: Platform, epoch: int | None) -> State:
    """An image without anything."""
    image = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        rootfs=RootFs(),
        config=_with_path(ExecConfig()),
    )
    return State(image=image, layers=(), epoch=_EARLIEST if epoch is None else epoch)


def from_image(image: Image, epoch: int | None) -> State:
    """A base image; its own time is the epoch unless the request gives one."""
    created = _seconds(image.config.created)
    return State(
        image=replace(image.config, config=_with_path(image.config.config)),
        layers=image.layers,
        base=image.id,
        epoch=max(created, _EARLIEST) if epoch is None else epoch,
    )


def from_stage(state: State) -> State:
    """The start of a stage that builds on another: its arguments are its own."""
    return replace(state, args={}, cmd_set=False)


def parse_epoch(text: str | None) -> int | None:
    """``SOURCE_DATE_EPOCH``: seconds since 1970; InvalidArgument."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > _LATEST:
        raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {text}: want seconds since 1970")
    return int(text)


def _with_path(config: ExecConfig) -> ExecConfig:
    """Images have a PATH, so that ``ENV PATH=$PATH:/x`` adds to it."""
    if "PATH" in env_dict(config):
        return config
    return replace(config, env=(*(config.env or ()), f"PATH={DEFAULT_PATH}"))


def _seconds(rfc3339: str) -> int:
    """Whole seconds of a time with or without a fraction; 0 if it is none, or before 1970."""
    try:
        time = datetime.fromisoformat(rfc3339[:19] + "+00:00")
    except ValueError:
        return 0
    return max(0, int(time.timestamp()))


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
