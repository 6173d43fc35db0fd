"""Images out of what is there: ``docker commit`` of a container, ``docker import`` of a tar."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, cast

import msgspec

from wherry.engine.api import CommitOptions, ImportOptions, ProgressLine
from wherry.engine.containers.lifecycle import Lifecycle
from wherry.engine.events import Events
from wherry.engine.records import Container
from wherry.engine.settings import EngineSettings
from wherry.engine.spec import merge_config
from wherry.engine.table import ContainerTable, Entry
from wherry.errors import Conflict, InvalidArgument
from wherry.fs.compress import Decompressed
from wherry.fs.streams import IteratorStream
from wherry.model.digest import Digest
from wherry.model.image import ExecConfig, History, ImageConfig, Platform, RootFs
from wherry.model.reference import Reference, parse_reference
from wherry.store.api import Image, Images, LayerRecord

if TYPE_CHECKING:
    from wherry.build.instructions import AnyInstruction

_CHANGES = frozenset(
    {
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    }
)
_CHANGES_LIMIT = 1000


class ImageMaker(msgspec.Struct, frozen=True):
    """Implements ``engine.api.CommitApi``."""

    settings: EngineSettings
    table: ContainerTable
    lifecycle: Lifecycle
    images: Images
    events: Events

    def commit(self, ref: str, options: CommitOptions) -> Digest:
        entry = self.table.find(ref)
        reference = _reference(options.repository, options.tag)
        record = entry.record
        config = _exec_config(merge_config(options.config, _exec_config(record.config)))
        config = apply_changes(config, options.changes)
        base = self.images.get(record.image_id)
        with self.images.lease():
            with self._quiet(entry, options.pause):
                layer = self._layer(record, base)
            made = _committed(record, base, config, layer, options)
            image = self.images.add(
                msgspec.json.encode(made),
                (*base.layers, *((layer,) if layer else ())),
                references=(reference,) if reference else (),
                parent=base.id,
            )
        shown = reference.familiar if reference else ""
        self.events.container(
            "commit", record, comment=options.comment, imageID=image.id, imageRef=shown
        )
        self._tagged(image, reference)
        return image.id

    @contextmanager
    def _quiet(self, entry: Entry, pause: bool) -> Iterator[None]:
        """Keep the container's processes from changing files meanwhile."""
        if not pause or entry.record.state.status != "running":
            yield
            return
        try:
            self.lifecycle.pause(entry)
        except Conflict:
            yield  # it has just ended, or somebody else paused it: as quiet as can be
            return
        try:
            yield
        finally:
            with suppress(Conflict):  # it was stopped or unpaused by somebody else
                self.lifecycle.unpause(entry)

    def _layer(self, record: Container, base: Image) -> LayerRecord | None:
        pieces = self.images.changes_tar(record.id, exclude=record.created_mountpoints)
        first = next(pieces, None)
        if first is None:
            return None

        def all_pieces() -> Iterator[bytes]:
            yield first
            yield from pieces

        stream = cast(BinaryIO, IteratorStream(all_pieces()))  # it needs read() only
        return self.images.apply_layer(stream, parent=base.chain_id, expected_diff_id=None)

    def import_image(
        self,
        archive: BinaryIO | None,
        options: ImportOptions,
        progress: Callable[[ProgressLine], None],
    ) -> Digest:
        reference = _reference(options.repository, options.tag)
        config = apply_changes(ExecConfig(), options.changes)
        platform = _platform(options.platform)
        with self.images.lease(), self._source(archive, options.source, progress) as stream:
            plain = cast(BinaryIO, Decompressed(stream))
            layer = self.images.apply_layer(plain, parent=None, expected_diff_id=None)
            source = "-" if archive is not None else options.source
            message = options.message or f"Imported from {source}"
            made = ImageConfig(
                architecture=platform.architecture,
                os=platform.os,
                variant=platform.variant,
                created=_now(),
                config=config,
                rootfs=RootFs(diff_ids=(layer.diff_id,)),
                history=(History(created=_now(), comment=message),),
            )
            image = self.images.add(
                msgspec.json.encode(made), (layer,), references=(reference,) if reference else ()
            )
        progress({"status": image.id})
        self._tagged(image, reference)
        self.events.emit("image", "import", image.id, {"name": image.id})
        return image.id

    @contextmanager
    def _source(
        self, archive: BinaryIO | None, url: str, progress: Callable[[ProgressLine], None]
    ) -> Iterator[BinaryIO]:
        """The archive that the client sends, or what is at a URL."""
        if archive is not None:
            yield archive
            return
        from wherry.build.download import fetch  # few imports need it, and it is not small

        progress({"status": f"Downloading from {url}"})
        directory = os.path.join(self.settings.data_root, "tmp")
        os.makedirs(directory, mode=0o700, exist_ok=True)
        download = fetch(url, directory, self.settings.proxy_env, lambda: None)
        with open(download.fd, "rb") as file:
            yield file

    def _tagged(self, image: Image, reference: Reference | None) -> None:
        if reference:
            labels = image.config.config.labels or {}
            self.events.emit("image", "tag", image.id, {**labels, "name": reference.familiar})


def _reference(repository: str, tag: str) -> Reference | None:
    if not repository:
        if tag:
            raise InvalidArgument("a tag needs the name of a repository")
        return None
    reference = parse_reference(repository)
    if reference.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return reference.with_tag(tag) if tag else reference.tagged()


def _committed(
    record: Container,
    base: Image,
    config: ExecConfig,
    layer: LayerRecord | None,
    options: CommitOptions,
) -> ImageConfig:
    step = History(
        created=_now(),
        created_by=" ".join((record.path, *record.args)),
        author=options.author,
        comment=options.comment,
        empty_layer=layer is None,
    )
    diff_ids = base.config.rootfs.diff_ids
    return msgspec.structs.replace(
        base.config,
        created=step.created,
        author=options.author,
        config=config,
        rootfs=RootFs(diff_ids=(*diff_ids, *((layer.diff_id,) if layer else ()))),
        history=(*base.config.history, step),
    )


def _exec_config(config: object) -> ExecConfig:
    """The portable part of a container's configuration."""
    names = (field.name for field in msgspec.structs.fields(ExecConfig))
    values = {name: getattr(config, name) for name in names}
    return ExecConfig(**{**values, "args_escaped": bool(values["args_escaped"])})


def apply_changes(config: ExecConfig, changes: Sequence[str]) -> ExecConfig:
    """The configuration after Dockerfile instructions; InvalidArgument names one that no image
    can get this way."""
    if len(changes) > _CHANGES_LIMIT:
        raise InvalidArgument(f"more than {_CHANGES_LIMIT} changes")
    if not changes:
        return config
    # Few engines ever parse a Dockerfile.
    from wherry.build.config import changed
    from wherry.build.evaluate import expanded

    cmd_set = False
    for text in changes:
        keyword, instruction = _parsed(text)
        cmd_set = cmd_set or keyword == "CMD"
        environment = dict(item.partition("=")[::2] for item in config.env or ())
        config = changed(config, expanded(instruction, environment, "\\"), cmd_set=cmd_set)
    return config


def _parsed(text: str) -> tuple[str, AnyInstruction]:
    from wherry.build.parser import parse_trigger

    keyword = text.split(maxsplit=1)[0].upper() if text.strip() else ""
    if keyword not in _CHANGES:
        raise InvalidArgument(f"{keyword or repr(text)} is not a valid change command")
    return keyword, parse_trigger(text)


def _platform(text: str) -> Platform:
    from wherry.build.platforms import host_platform, parse_platform

    return parse_platform(text) if text else host_platform()


def _now() -> str:
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos:09}Z"
