"""What a process of wherry-runtime imports, and what it does without."""

import json
import subprocess
import sys

_ABSENT = """
    argparse enum re selectors platform locale shutil textwrap _decimal _pydatetime
""".split()
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


_LEAN = (
    "from wherry.runtime.oci.lean import left_out\n"
    "with left_out():\n"
    "    from wherry.runtime.oci import commands\n"
    "from wherry.runtime.oci.options import parse\n"
)


def test_what_is_left_out_is_not_missed() -> None:
    program = (
        f"{_LEAN}"
        "from wherry.runtime.documents import spec_decoder\n"
        "options = parse(['run', '--bundle', '/b', 'one'])\n"
        'spec = spec_decoder.decode(b\'{"ociVersion": "1.2.0", "hostname": "h"}\')\n'
        f"absent = [n for n in {_ABSENT} if n in sys.modules]\n"
        "import json; print(json.dumps([options.bundle, spec.hostname, absent]))"
    )
    assert _printed(program) == ["/b", "h", []]


def test_what_is_imported_later_gets_the_real_modules() -> None:
    program = (
        f"{_LEAN}"
        "from wherry.runtime.oci import running\n"
        "import decimal, enum, json, msgspec.inspect, re, signal, socket, uuid\n"
        "print(json.dumps([signal.SIGTERM.name, socket.AF_UNIX.name, re.sub('a', 'b', 'a')]))"
    )
    assert _printed(program) == ["SIGTERM", "AF_UNIX", "b"]


def test_the_rare_commands_work_in_such_a_process() -> None:
    program = (
        f"{_LEAN}"
        "import os\n"
        "for name in ('checkpoint', 'features'):\n"
        "    print(commands.command([name]), file=sys.stderr)\n"
    )
    command = [sys.executable, "-IS", "-c", _PATH + program]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stderr.splitlines()[1:] == ["1", "0"]
    assert json.loads(done.stdout)["ociVersionMax"] == "1.2.0"
