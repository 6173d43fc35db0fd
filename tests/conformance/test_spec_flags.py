"""Every flag of runc's command line is taken, or refused in a sentence that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.bundles import OTHER, Bundles

pytestmark = pytest.mark.root

ONLY_OURS = pytest.mark.skipif(bool(OTHER), reason="runc can do what we refuse, or warns")


@pytest.mark.parametrize(
    "flags", [("--rootless", "auto"), ("--rootless=false",), ("--criu", "/nowhere/criu")]
)
def test_a_flag_that_changes_nothing_for_root(oci: Bundles, flags: tuple[str, ...]) -> None:
    assert '"hooks"' in oci.call(*flags, "features").stdout


@pytest.mark.skipif(bool(OTHER), reason="runc looks at it only when it makes a container")
@pytest.mark.parametrize("word", ["maybe", "", "yes"])
def test_a_word_for_rootless_that_is_not_known(oci: Bundles, word: str) -> None:
    done = oci.call(f"--rootless={word}", "features", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr


@ONLY_OURS
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (("--rootless=true", "list"), "--rootless=true is not supported"),
        (("spec", "--rootless"), "spec --rootless is not supported"),
        (("update", "--l3-cache-schema", "L3:0=f", "x"), "linux.intelRdt is not supported"),
        (("update", "--mem-bw-schema", "MB:0=50", "x"), "linux.intelRdt is not supported"),
        (("checkpoint", "--image-path", "/tmp", "x"), "checkpoint is not supported"),
        (("restore", "--detach", "--bundle", "/tmp", "x"), "restore is not supported"),
    ],
)
def test_a_flag_that_is_refused(oci: Bundles, call: tuple[str, ...], named: str) -> None:
    done = oci.call(*call, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


def test_limits_of_kernel_memory_are_ignored(oci: Bundles) -> None:
    name = oci.start("sleep", "100")
    oci.call("update", "--kernel-memory", "8m", "--kernel-memory-tcp", "8m", name)
    assert oci.state(name)["status"] == "running"


@pytest.mark.parametrize("flag", ["--det", "--bund=/tmp"])
def test_a_flag_is_known_by_its_whole_name_only(oci: Bundles, flag: str) -> None:
    done = oci.call("run", flag, "x", check=False)
    assert done.returncode == 1
    assert flag.partition("=")[0].lstrip("-") in done.stderr


def test_the_log_is_made_before_anything_goes_wrong(oci: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"
    oci.call("--log", str(log), "features")
    assert log.read_bytes() == b""


def test_a_log_that_cannot_be_written(oci: Bundles, tmp_path: Path) -> None:
    done = oci.call("--log", str(tmp_path / "none/log"), "features", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such file or directory" in done.stderr.lower()
    assert "Traceback" not in done.stderr
