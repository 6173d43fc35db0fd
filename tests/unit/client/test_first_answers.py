"""Threads that meet a type of answer for the first time, all at once."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import json, sys, threading
from wherry.client.answers import ContainerDetails, decode
sys.setswitchinterval(1e-6)
begin = threading.Barrier(16)
text = json.dumps({"Id": "x", "State": {}, "NetworkSettings": {"Networks": {"a": {}}}})

def meet():
    begin.wait()
    decode(text, ContainerDetails)

threads = [threading.Thread(target=meet) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def test_a_type_is_learnt_by_one_thread() -> None:
    for _ in range(3):  # without the lock, most of them crash
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
