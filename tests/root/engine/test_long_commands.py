"""Linux lets a program have 128 KiB in each argument and variable, and 2 MiB in all (execve(2))."""

from __future__ import annotations

import pytest
from tests.root.engine.conftest import TestEngine
from tests.root.engine.test_exec_options import execute

from wherry.errors import WherryError

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("nothing_is_left")]

WORDS = ("x" * 100_000,) * 12
ENVIRONMENT = tuple(f"LONG{number}={'y' * 100_000}" for number in range(4))
COUNT = 'echo $# ${#1} ${#LONG3}; [ "$1" = "${12}" ]'


def test_a_container(engine: TestEngine) -> None:
    outcome = engine.run("sh", "-c", COUNT, "sh", *WORDS, env=ENVIRONMENT)
    assert (outcome.code, outcome.stdout) == (0, b"12 100000 100000\n")


def test_an_exec(engine: TestEngine) -> None:
    container = engine.create("sleep", "100")
    engine.engine.containers.start(container)
    try:
        for _ in range(2):
            output = execute(engine, container, "sh", "-c", COUNT, "sh", *WORDS, env=ENVIRONMENT)
            assert output == "12 100000 100000"
        with pytest.raises(WherryError, match=r"(?i)argument list too long"):
            execute(engine, container, "echo", "x" * 200_000)
    finally:
        engine.engine.containers.remove(container, force=True)


def test_what_is_too_long_for_the_kernel_is_said(engine: TestEngine) -> None:
    with pytest.raises(WherryError, match=r"(?i)argument list too long"):
        engine.run("echo", "x" * 200_000)
