"""Whole builds on real layers."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.root

FLASK = """\
FROM busybox
COPY app.py /app/
WORKDIR /app
RUN echo installed > /lib64/flask
CMD ["python", "app.py"]
"""


def test_the_tutorial(bench) -> None:
    result = bench.build(FLASK, {"app.py": b"print()\n"}, tags=["my-python-app"])
    image = bench.images.get("my-python-app")
    print(bench.text)
    assert image.id == result.image
    assert image.config.config.cmd == ("python", "app.py")
    assert image.config.config.working_dir == "/app"
    assert bench.read(result, "usr/lib/flask") == "installed\n"
    assert bench.read(result, "app/app.py") == "print()\n"
    for h in image.config.history: print(h)
    again = bench.build(FLASK, {"app.py": b"print()\n"}, tags=["my-python-app"])
    print(bench.text)
    assert again.image == result.image
