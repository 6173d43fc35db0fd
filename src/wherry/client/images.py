"""Images: ``client.images``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from wherry.client.answers import (
    NO_FILTERS,
    Filters,
    HistoryEntry,
    ImageDetails,
    ImageSummary,
    Pruned,
    RemovedImage,
    ask,
)
from wherry.client.context import BuildContext
from wherry.client.progress import (
    Credentials,
    Progress,
    auth_header,
    error_of,
    read_progress,
    to_progress,
)
from wherry.client.session import Session, quote
from wherry.client.transport import CHUNK
from wherry.errors import InternalError, WherryError
from wherry.model.reference import parse_reference

Report = Callable[[Progress], None]
"""Takes each message of a long request as it arrives."""


class BuildFailed(WherryError):  # named as the bases are
    """A build went wrong: ``code`` is the status of the step that failed (0 if it was none),
    ``output`` all that the build has said."""

    def __init__(self, message: str, code: int, output: str) -> None:
        super().__init__(message)
        self.code = code
        self.output = output


class Images:
    """All images of an engine. A name is a reference, an id or a prefix of one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[ImageSummary, ...]:
        query = {"filters": dict(filters) or None}
        return ask(self._session, tuple[ImageSummary, ...], "GET", "/images/json", query)

    def inspect(self, name: str) -> ImageDetails:
        return ask(self._session, ImageDetails, "GET", f"/images/{quote(name)}/json")

    def history(self, name: str) -> tuple[HistoryEntry, ...]:
        """Newest step first."""
        path = f"/images/{quote(name)}/history"
        return ask(self._session, tuple[HistoryEntry, ...], "GET", path)

    def tag(self, name: str, target: str) -> None:
        """Give an image another name."""
        reference = parse_reference(target)
        query = {"repo": reference.familiar_repository, "tag": reference.tag}
        self._session.post(f"/images/{quote(name)}/tag", query)

    def remove(self, name: str, *, force: bool = False) -> tuple[RemovedImage, ...]:
        path = f"/images/{quote(name)}"
        return ask(self._session, tuple[RemovedImage, ...], "DELETE", path, {"force": force})

    def prune(self, *, filters: Filters = NO_FILTERS) -> Pruned:
        """Remove images without a name (``{"dangling": ["false"]}``: all that are unused)."""
        query = {"filters": dict(filters) or None}
        return ask(self._session, Pruned, "POST", "/images/prune", query)

    # --- registries

    def pull(
        self,
        name: str,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        report: Report | None = None,
    ) -> ImageDetails:
        """Pull an image (``:latest`` without a tag) and return it."""
        reference = parse_reference(name).tagged()
        query = {
            "fromImage": reference.familiar_repository,
            "tag": reference.digest or reference.tag,
            "platform": platform or None,
        }
        self._follow("/images/create", query, auth_header(credentials), report)
        return self.inspect(name)

    def push(
        self,
        name: str,
        *,
        credentials: Credentials | None = None,
        report: Report | None = None,
    ) -> None:
        reference = parse_reference(name).tagged()
        path = f"/images/{quote(reference.familiar_repository)}/push"
        self._follow(path, {"tag": reference.tag}, auth_header(credentials), report)

    def bootstrap(self, name: str, *, report: Report | None = None) -> ImageDetails:
        """Make a base image from the distribution's package mirror (Wherry's own)."""
        self._follow("/wherry/bootstrap", {"name": name}, {}, report)
        return self.inspect(name)

    def _follow(
        self,
        path: str,
        query: Mapping[str, Any],
        headers: Mapping[str, str],
        report: Report | None,
        body: Iterable[bytes] | None = None,
    ) -> None:
        messages = self._session.progress("POST", path, query, body=body, headers=headers)
        for message in read_progress(messages):
            if report:
                report(message)

    # --- archives

    def save(self, names: Sequence[str]) -> Iterator[bytes]:
        """One tar archive with all of them, in pieces."""
        query = {"names": list(names)}
        with self._session.request("GET", "/images/get", query) as response:
            yield from response.chunks()

    def load(self, archive: BinaryIO | Iterable[bytes], *, report: Report | None = None) -> None:
        """Read what ``save`` (of this engine or of Docker's) wrote."""
        pieces = archive if not hasattr(archive, "read") else iter(lambda: archive.read(CHUNK), b"")
        headers = {"Content-Type": "application/x-tar"}
        self._follow("/images/load", {"quiet": True}, headers, report, pieces)

    # --- builds

    def build(
        self,
        path: str | os.PathLike[str],
        *,
        tag: str | Sequence[str] = (),
        dockerfile: str = "",
        build_args: Mapping[str, str] = {},
        labels: Mapping[str, str] = {},
        target: str = "",
        no_cache: bool = False,
        pull: bool = False,
        network: str = "",
        platform: str = "",
        host_ca: bool = False,
        report: Report | None = None,
    ) -> ImageDetails:
        """Build the directory ``path``; BuildFailed if a step goes wrong.

        ``dockerfile`` is relative to ``path``. ``host_ca`` shows the host's certificate
        authorities to RUN steps and leaves no trace of them.
        """
        context = BuildContext(os.fspath(path), dockerfile)
        query = {
            "t": [tag] if isinstance(tag, str) else list(tag),
            "dockerfile": context.dockerfile_name,
            "buildargs": json.dumps(dict(build_args)) if build_args else None,
            "labels": json.dumps(dict(labels)) if labels else None,
            "target": target or None,
            "nocache": no_cache or None,
            "pull": pull or None,
            "networkmode": network or None,
            "platform": platform or None,
            "version": "1",
        }
        headers = {"Content-Type": "application/x-tar"}
        if host_ca:
            headers["X-Wherry-Host-CA"] = "1"
        messages = self._session.progress(
            "POST", "/build", query, body=context.archive(), headers=headers
        )
        return self.inspect(_built(messages, report))


def _built(messages: Iterator[dict[str, Any]], report: Report | None) -> str:
    """The id of the image that was built."""
    said: list[str] = []
    image = ""
    for message in messages:
        if failed := error_of(message):
            raise BuildFailed(*failed, "".join(said))
        progress = to_progress(message)
        said.append(progress.stream)
        image = str(progress.aux.get("ID") or image)
        if report:
            report(progress)
    if not image:
        raise InternalError("the engine ended the build without naming an image")
    return image
