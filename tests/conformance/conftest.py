"""Bundles of a small tree, for the runtime that is tested."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.conformance.bundles import COMMAND, Bundles, make_layer


@pytest.fixture(scope="session")
def oci_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("busybox") is None or shutil.which(COMMAND[0]) is None:
        pytest.skip("this machine lacks busybox or the runtime to test")
    return make_layer(tmp_path_factory.mktemp("oci") / "layer")


@pytest.fixture
def oci(tmp_path: Path, oci_layer: Path, run_id: str) -> Iterator[Bundles]:
    made = Bundles(tmp_path, oci_layer, f"{run_id}-{uuid4().hex[:6]}")
    yield made
    made.clean()
