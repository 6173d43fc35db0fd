"""Every command pays for what it imports; some modules cost more than a container's start."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What each costs here, in milliseconds of a bare interpreter's 12: decisions/command-line.md.
_DEAR = {"msgspec", "typing", "argparse", "click", "dataclasses", "http", "email", "subprocess"}
_DEAR |= {"inspect", "asyncio", "urllib", "tarfile", "threading", "datetime", "logging", "rich"}


@pytest.mark.parametrize("module", ["run", "ps", "images", "logs", "attach", "lifecycle", "start"])
def test_common_commands_import_little(module: str) -> None:
    code = f"import sys, wherry.cli.main, wherry.cli.{module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & _DEAR
