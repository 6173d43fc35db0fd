"""A container's configuration over its image's (BEHAVIOURS 12)."""

from __future__ import annotations

import pytest

from wherry.engine.spec import merge_config
from wherry.engine.spec.merge import replace_env
from wherry.model.container import ContainerConfig
from wherry.model.image import ExecConfig, HealthConfig

IMAGE = ExecConfig(
    entrypoint=("/entry",),
    cmd=("default",),
    env=("PATH=/image", "LANG=C"),
    user="web",
    working_dir="/srv",
    labels={"a": "image", "b": "image"},
    exposed_ports={"80/tcp": {}},
    volumes={"/data": {}},
    stop_signal="SIGINT",
    stop_timeout=3,
    shell=("/bin/bash", "-c"),
    healthcheck=HealthConfig(test=("CMD", "true"), interval=5, retries=2),
)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "expected"),
    [
        (None, None, ("/entry", "default")),
        (None, ("other",), ("/entry", "other")),
        (("/mine",), None, ("/mine",)),
        (("/mine",), ("x",), ("/mine", "x")),
        (("",), None, ()),
        (("",), ("x",), ("x",)),
        ((), ("x",), ("x",)),
        ((), None, ("default",)),
    ],
)
def test_entrypoint_and_command(
    entrypoint: tuple[str, ...] | None, cmd: tuple[str, ...] | None, expected: tuple[str, ...]
) -> None:
    merged = merge_config(ContainerConfig(entrypoint=entrypoint, cmd=cmd), IMAGE)
    assert (*(merged.entrypoint or ()), *(merged.cmd or ())) == expected


def test_the_image_fills_what_was_left_out() -> None:
    merged = merge_config(ContainerConfig(), IMAGE)
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("web", "/srv", "SIGINT")
    assert (merged.stop_timeout, merged.shell) == (3, ("/bin/bash", "-c"))
    assert merged.env == ("PATH=/image", "LANG=C")
    assert merged.healthcheck == IMAGE.healthcheck


def test_what_was_asked_for_wins() -> None:
    config = ContainerConfig(
        user="0",
        working_dir="/",
        env=("LANG=de", "NEW=1"),
        labels={"a": "mine"},
        exposed_ports={"81/udp": {}},
        volumes={"/more": {}},
        stop_signal="SIGTERM",
        stop_timeout=0,
        healthcheck=HealthConfig(interval=9),
    )
    merged = merge_config(config, IMAGE)
    assert (merged.user, merged.working_dir, merged.stop_timeout) == ("0", "/", 0)
    assert merged.env == ("LANG=de", "NEW=1", "PATH=/image")
    assert merged.labels == {"a": "mine", "b": "image"}
    assert merged.exposed_ports == {"80/tcp": {}, "81/udp": {}}
    assert merged.volumes == {"/data": {}, "/more": {}}
    assert merged.healthcheck == HealthConfig(test=("CMD", "true"), interval=9, retries=2)


def test_an_image_without_anything() -> None:
    assert merge_config(ContainerConfig(cmd=("x",)), ExecConfig()) == ContainerConfig(cmd=("x",))


def test_variables_are_replaced_added_and_taken_away() -> None:
    env = replace_env(("A=1", "B=2", "C=3"), ("B=new", "A", "D=4", "NONE"))
    assert env == ("B=new", "C=3", "D=4")
