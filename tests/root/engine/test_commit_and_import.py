"""Images out of containers and archives."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from tests.patience import patience

from wherry.engine.api import CommitOptions, ImportOptions
from wherry.errors import InvalidArgument
from wherry.model.container import ContainerConfig, HostConfig, NetworkingConfig

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]


def run(engine: Any, image: str, *cmd: str) -> str:
    """What a container of an image prints."""
    api = engine.engine.containers
    config = ContainerConfig(image=image, cmd=cmd or None)
    container = api.create("", config, HostConfig(network_mode="none"), NetworkingConfig()).id
    exited = api.wait(container, "next-exit")
    api.start(container)
    exited.result(patience(30))
    printed = b"".join(bytes(record.data) for record in api.logs(container).read())
    api.remove(container)
    return printed.decode()


def test_a_commit_has_what_the_container_changed(engine: Any) -> None:
    api, commits = engine.engine.containers, engine.engine.commits
    container = engine.create(
        "sh", "-c", "echo kept > /root/new; rm /bin/tac; sleep 600", env=("A=1", "B=2")
    )
    api.start(container)
    while not any("sleep" in row[-1] and "sh" not in row[-1] for row in api.top(container, "")[1]):
        pass
    seen: list[str] = []
    stop = engine.engine.events.subscribe(lambda event: seen.append(event.action))
    options = CommitOptions(
        repository="committed",
        tag="one",
        author="me",
        comment="why",
        changes=('CMD ["cat", "/root/new"]', "ENV B=3 C=$A", "LABEL x=y", "EXPOSE 80"),
        config=ContainerConfig(working_dir="/tmp"),
    )
    image_id = commits.commit(container, options)
    stop()
    assert [a for a in seen if a in ("pause", "unpause", "commit", "tag")] == [
        "pause", "unpause", "commit", "tag",
    ]  # fmt: skip
    assert api.get(container).state.status == "running"
    api.remove(container, force=True)
    image = engine.engine.images.get("committed:one")
    base = engine.engine.images.get("busybox")
    assert (image.id, image.parent) == (image_id, base.id)
    assert image.layers[:-1] == base.layers
    config = image.config
    assert set(config.config.env or ()) == {"A=1", "B=3", "C=1"}
    assert (config.config.labels or {})["x"] == "y"
    assert config.config.exposed_ports == {"80/tcp": {}}
    assert config.config.working_dir == "/tmp"
    assert (config.author, config.history[-1].comment) == ("me", "why")
    assert run(engine, "committed:one") == "kept\n"
    assert "tac" not in run(engine, "committed:one", "ls", "/bin").split()
    engine.engine.images.remove(image_id, force=True)


def test_a_commit_of_nothing_has_no_new_layer(engine: Any) -> None:
    container = engine.create("true")
    image_id = engine.engine.commits.commit(container, CommitOptions())
    image = engine.engine.images.get(image_id)
    assert image.layers == engine.engine.images.get("busybox").layers
    assert image.config.history[-1].empty_layer
    assert image.references == ()
    engine.engine.containers.remove(container)
    engine.engine.images.remove(image_id)


def test_changes_that_no_commit_can_make_are_named(engine: Any) -> None:
    container = engine.create("true")
    before = engine.engine.images.list()
    for change, words in (
        ("RUN true", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ("NOSUCH", "NOSUCH is not a valid change command"),
        ("EXPOSE x", "invalid containerPort"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            engine.engine.commits.commit(container, CommitOptions(changes=(change,)))
    with pytest.raises(InvalidArgument):
        engine.engine.commits.commit(container, CommitOptions(repository="Not A Name"))
    assert engine.engine.images.list() == before
    engine.engine.containers.remove(container)


def test_an_export_is_imported_and_runs(engine: Any) -> None:
    container = engine.create("true")
    pieces: list[bytes] = []
    engine.engine.files.export(container, pieces.append)
    engine.engine.containers.remove(container)
    lines: list[dict[str, object]] = []
    options = ImportOptions(repository="imported", changes=('CMD ["echo", "here"]', "USER 7"))
    image_id = engine.engine.commits.import_image(
        io.BytesIO(b"".join(pieces)), options, lines.append
    )
    assert lines[-1] == {"status": image_id}
    image = engine.engine.images.get("imported:latest")
    assert (image.id, len(image.layers), image.parent) == (image_id, 1, None)
    assert image.config.history[0].comment == "Imported from -"
    assert run(engine, "imported") == "here\n"
    assert run(engine, "imported", "id", "-u") == "7\n"
    engine.engine.images.remove("imported")


def test_an_archive_that_is_none_leaves_no_image(engine: Any) -> None:
    from wherry.fs.tar.entry import BadArchive

    before = engine.engine.images.list()
    climbing = io.BytesIO()
    with tarfile.open(fileobj=climbing, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    for data in (b"no tar at all" * 100, climbing.getvalue()):
        with pytest.raises(BadArchive):
            engine.engine.commits.import_image(io.BytesIO(data), ImportOptions(), lambda line: None)
    assert engine.engine.images.list() == before
