"""The small pure parts of a build."""

from __future__ import annotations

import io
import tarfile

import pytest

from wherry.build.api import BuildRequest, StepDone, StepOutput, StepStarted, TriggersStarted
from wherry.build.archives import is_archive, is_tar
from wherry.build.config import joined, parse_ports, set_env
from wherry.build.durations import parse_duration
from wherry.build.instructions import Pair
from wherry.build.owners import parse_chmod
from wherry.build.platforms import parse_platform
from wherry.build.progress import classic_text
from wherry.build.refusals import check_request
from wherry.build.run_mounts import parse_mount, parse_size
from wherry.build.scope import BuildArgs, declare, platform_args, run_arguments, unused
from wherry.build.state import COMMENT, from_scratch, parse_epoch
from wherry.errors import InvalidArgument, NotSupported, WherryError
from wherry.model.digest import Digest, digest_of
from wherry.model.image import ExecConfig, Platform
from wherry.store.api import LayerRecord

AMD64 = Platform(architecture="amd64", os="linux")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0", 0), ("1s", 10**9), ("1m30s", 90 * 10**9), ("1.5h", 5400 * 10**9), (".5ms", 500_000)],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "-1s", "1x", "s", "1s2", "9999999999h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid duration"):
        parse_duration(text)


def test_ports() -> None:
    assert parse_ports("8000-8002/UDP") == ["8000/udp", "8001/udp", "8002/udp"]
    for text in ("0", "70000", "2-1", "a", "80:80", "1/icmp", ""):
        with pytest.raises(InvalidArgument):
            parse_ports(text)


def test_directories_are_joined_inside_the_image() -> None:
    assert joined("", "a") == "/a"
    assert joined("/a", "b/../c/.") == "/a/c"
    assert joined("/a", "//b") == "/b"
    assert joined("/a", "../../../etc") == "/etc"


def test_a_variable_keeps_its_place() -> None:
    env = set_env(("a=1", "b=2"), (Pair("a", "3"), Pair("c", "4")))
    assert env == ("a=3", "b=2", "c=4")


def test_platforms() -> None:
    assert parse_platform("linux/amd64") == AMD64
    assert parse_platform("aarch64").architecture == "arm64"
    assert str(parse_platform("Linux/ARM/v7")) == "linux/arm/v7"
    for text in ("", "windows/amd64", "a/b/c/d", "linux//x"):
        with pytest.raises(InvalidArgument):
            parse_platform(text)


def test_arguments() -> None:
    build = BuildArgs(given={"a": "asked"}, automatic=platform_args(AMD64, AMD64, ""))
    outer = declare({}, [("a", "1"), ("b", "2"), ("c", None)], build, {})
    assert outer == {"a": "asked", "b": "2", "c": None}
    items = [("a", "x"), ("b", None), ("c", "y"), ("TARGETARCH", None), ("d", None)]
    inner = declare({}, items, build, outer)
    assert inner == {"a": "asked", "b": "2", "c": "y", "TARGETARCH": "amd64", "d": None}
    assert run_arguments(inner, ExecConfig(env=("a=env",))) == {
        "TARGETARCH": "amd64", "b": "2", "c": "y",
    }  # fmt: skip
    assert unused(build, ["b"]) == ("a",)


def test_history_and_layers_go_together() -> None:
    layer = LayerRecord(diff_id=digest_of(b"d"), chain_id=digest_of(b"c"), size=1)
    state = from_scratch(AMD64, 0).after("RUN x", ExecConfig(), layer)
    state = state.after("ENV x=1", ExecConfig(env=("x=1",)), None)
    assert state.image.rootfs.diff_ids == (layer.diff_id,)
    assert [entry.empty_layer for entry in state.image.history] == [False, True]
    assert {entry.comment for entry in state.image.history} == {COMMENT}
    assert state.image.created == "1970-01-01T00:00:00Z"
    assert state.id == digest_of(state.config_json)


def test_the_earliest_time_without_a_wish_is_one_that_zip_can_hold() -> None:
    state = from_scratch(AMD64, None).after("ENV", ExecConfig(), None)
    assert state.image.created == "1980-01-02T00:00:00Z"


def test_the_epoch_is_a_number() -> None:
    assert parse_epoch(None) is None
    assert parse_epoch("12") == 12
    for text in ("-1", "1.5", "now", "9" * 20):
        with pytest.raises(InvalidArgument):
            parse_epoch(text)


def test_modes_of_chmod() -> None:
    assert parse_chmod("") is None
    assert parse_chmod("0755") == 0o755
    for text in ("8", "a+x", "77777", "-1"):
        with pytest.raises(WherryError):
            parse_chmod(text)


def test_sizes() -> None:
    assert parse_size("64m") == 64 << 20
    assert parse_size("1GiB") == 1 << 30
    with pytest.raises(InvalidArgument):
        parse_size("many")


def test_mounts_have_defaults() -> None:
    assert parse_mount("type=cache,target=/c").read_write
    assert not parse_mount("target=/c").read_write
    assert parse_mount("target=/c,readonly=false").read_write
    assert parse_mount("type=secret,id=x,mode=0440").mode == 0o440


@pytest.mark.parametrize(
    "text",
    ["type=cache", "type=bind", "type=secret", "target", "target=/x,uid=a", "target=/x,ro=maybe",
     "type=cache,target=/x,sharing=mine", '"target=/x', "target=/x,from=$y"],
)  # fmt: skip
def test_a_bad_mount(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_mount(text)


def test_archives_are_recognised() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("x"))
    assert is_tar(buffer.getvalue()[:512])
    assert is_archive(b"\x1f\x8b\x08" + bytes(20))
    assert not is_archive(b"FROM busybox\n" * 60)
    assert not is_archive(b"")


def test_names_of_the_image_are_checked_first() -> None:
    (reference,) = check_request(BuildRequest(tags=("App:1".lower(),)))
    assert reference.familiar == "app:1"
    for tag in ("UPPER", "a@sha256:" + "0" * 64, "a b"):
        with pytest.raises(InvalidArgument):
            check_request(BuildRequest(tags=(tag,)))
    with pytest.raises(NotSupported, match="squash"):
        check_request(BuildRequest(squash=True))
    with pytest.raises(InvalidArgument, match="memory"):
        check_request(BuildRequest(memory=-1))


def test_dockers_words() -> None:
    image = Digest("sha256:" + "0123456789ab" + "0" * 52)
    assert classic_text(StepStarted(1, 5, "FROM x")) == "Step 1/5 : FROM x\n"
    assert classic_text(StepDone(image)) == " ---> 0123456789ab\n"
    assert classic_text(StepOutput("stdout", b"\xff\n")) == "\ufffd\n"
    assert classic_text(TriggersStarted(1)) == "# Executing 1 build trigger\n"
