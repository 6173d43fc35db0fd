"""Directories of the host that a policy grants, and the ways out of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.api.api.policies import Guarded

pytestmark = pytest.mark.root


def test_a_granted_directory_and_its_ways_out(guarded: Guarded) -> None:
    place = guarded.shared
    status, made = guarded.create(HostConfig={"Binds": [f"{place}:/x:ro"]})
    assert status == 201, made
    assert guarded.call("DELETE", f"/containers/{made['Id']}")[0] == 204
    for text in (f"{place}:/x", f"{place}/../..:/x:ro", f"{place}/out:/x:ro", f"{place}x:/x:ro"):
        assert guarded.create(HostConfig={"Binds": [text]})[0] == 403, text


def test_a_link_put_where_a_granted_directory_was(guarded: Guarded) -> None:
    place = guarded.shared / "swapped"
    place.mkdir()
    made = guarded.create(HostConfig={"Binds": [f"{place}:/x:ro"]})[1]
    place.rmdir()
    place.symlink_to("/etc")
    status, answer = guarded.call("POST", f"/containers/{made['Id']}/start")
    assert (status, "grant.binds" in answer["message"]) == (403, True)
    assert guarded.call("DELETE", f"/containers/{made['Id']}")[0] == 204
    place.unlink()


def _printed(guarded: Guarded, source: Path, command: list[str]) -> str:
    """What a container with a bind prints that is made through the job's socket, and started by
    somebody whose starts are not looked at."""
    logs = {"Type": "json-file"}
    host = {"Binds": [f"{source}:/x:ro"], "LogConfig": logs, "NetworkMode": "none"}
    status, made = guarded.create(HostConfig=host, Cmd=command, Tty=True)
    assert status == 201, made
    path = f"/containers/{made['Id']}"
    try:
        assert guarded.daemon.call("POST", f"{path}/start")[0] == 204
        guarded.daemon.call("POST", f"{path}/wait")
        return str(guarded.daemon.call("GET", f"{path}/logs?stdout=1")[1].decode().strip())
    finally:
        assert guarded.daemon.call("DELETE", f"{path}?force=1")[0] == 204


def test_what_is_in_a_granted_directory_is_bound(guarded: Guarded) -> None:
    place = guarded.shared / "deep" / "er"
    place.mkdir(parents=True)
    (place / "file").write_text("found")
    assert _printed(guarded, place, ["cat", "/x/file"]) == "found"
    assert _printed(guarded, place / "file", ["cat", "/x"]) == "found"
    assert _printed(guarded, guarded.shared, ["cat", "/x/deep/er/file"]) == "found"
    new = guarded.shared / "made" / "for it"
    assert _printed(guarded, new, ["ls", "-a", "/x"]).split() == [".", ".."]
    assert new.is_dir()


def test_a_bind_is_looked_up_in_the_granted_directory_when_it_is_mounted(guarded: Guarded) -> None:
    """As if somebody won the race after the comparison: the start is not compared again."""
    above = guarded.shared / "above"
    (above / "conf.d").mkdir(parents=True)
    made = guarded.create(HostConfig={"Binds": [f"{above}/conf.d:/x:ro"]})[1]
    above.rename(guarded.shared / "aside")
    outside = guarded.shared.parent / "outside"
    (outside / "conf.d").mkdir(parents=True)
    above.symlink_to(outside)
    path = f"/containers/{made['Id']}"
    status, answer = guarded.daemon.call("POST", f"{path}/start")
    assert (status, b"bind source path does not exist" in answer) == (404, True), answer
    assert guarded.daemon.call("GET", f"{path}/archive?path=/x")[0] >= 400
    above.unlink()
    above.symlink_to("aside")  # leads to another part of what is granted
    assert guarded.daemon.call("POST", f"{path}/start")[0] == 204
    assert guarded.call("DELETE", f"{path}?force=1")[0] == 204
