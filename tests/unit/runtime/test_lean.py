"""What a process of wherry-runtime imports, and what it does without."""

import json
import subprocess
import sys

_ABSENT = ("platform", "locale", "shutil", "textwrap", "numbers", "_decimal", "_pydatetime")
_PATH = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"


def _printed(program: str) -> object:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _PATH + program], check=True, capture_output=True
    )
    return json.loads(done.stdout)


def test_the_first_stage_imports_neither_types_nor_libraries() -> None:
    program = (
        "import wherry.runtime.main\n"
        "loaded = [n for n in ('typing', 'msgspec', 'socket', 'argparse') if n in sys.modules]\n"
        "import json; print(json.dumps(loaded))"
    )
    assert _printed(program) == []


def test_what_is_left_out_is_not_missed() -> None:
    program = (
        "from wherry.runtime.oci.lean import leave_out\n"
        "leave_out()\n"
        "from wherry.runtime.oci.options import parser\n"
        "from wherry.runtime.oci import commands\n"
        "from wherry.runtime.documents import spec_decoder\n"
        "options = parser(['run']).parse_args(['run', '--bundle', '/b', 'one'])\n"
        'spec = spec_decoder.decode(b\'{"ociVersion": "1.2.0", "hostname": "h"}\')\n'
        f"absent = [n for n in {_ABSENT} if n in sys.modules]\n"
        "import json; print(json.dumps([options.bundle, spec.hostname, absent]))"
    )
    assert _printed(program) == ["/b", "h", []]


def test_a_wrong_option_is_told_of_without_translations() -> None:
    program = (
        "from wherry.runtime.oci.lean import leave_out\n"
        "leave_out()\n"
        "from wherry.runtime.oci.options import parser\n"
        "parser(['run']).parse_args(['run'])"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _PATH + program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "the following arguments are required: id" in done.stderr
