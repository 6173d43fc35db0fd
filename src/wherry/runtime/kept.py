"""The interpreter, kept on a read-only mount, so that ``wherry-runtime`` need not execute twice.

The mount stays behind, for the script of that name to find: ``/run/wherry-interpreters`` followed
by the interpreter's path is a bind mount of it. Only root can make or replace what is there; the
script sees that it is the same file, the process that was executed that nobody can write to it
(:func:`wherry.runtime.protect.is_protected`). See docs/decisions/0082-kept-interpreter.md.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import sys
from contextlib import suppress
from importlib.util import MAGIC_NUMBER

from wherry.fs.atomic import write_atomic
from wherry.runtime import remembered
from wherry.runtime.main import main as run
from wherry.runtime.protect import again_as, protected_interpreter
from wherry.sys import mount as m

KEPT = "/run/wherry-interpreters"


def main() -> int:
    """The program's entry while no interpreter is kept; returns its exit status."""
    with suppress(OSError):  # without privileges, or where /run cannot be written to
        keep(sys.executable)
    return run()


def keep(interpreter: str, directory: str = KEPT) -> None:
    """Mount an interpreter read-only, once for all callers; OSError where that cannot be.

    Beside it is what it needs to find its library, as in a virtual environment, and ours.
    """
    os.makedirs(directory, 0o755, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = directory + os.path.abspath(interpreter)
        _mount(kept, interpreter)
    finally:
        os.close(lock)


def _mount(kept: str, interpreter: str) -> None:
    place = os.path.dirname(kept)
    os.makedirs(place, 0o755, exist_ok=True)
    home = os.path.dirname(os.path.realpath(interpreter))
    write_atomic(f"{os.path.dirname(place)}/pyvenv.cfg", f"home = {home}\n".encode())
    write_atomic(f"{kept}.pyc", _program(f"{kept}.modules"))
    if os.path.exists(kept):
        if os.path.samefile(kept, interpreter):
            return  # others have been here meanwhile, or the package was installed anew
        with suppress(OSError):  # it may have been unmounted by somebody
            m.umount2(kept, m.MNT_DETACH | m.UMOUNT_NOFOLLOW)
    os.close(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    mount = protected_interpreter()
    if mount is None:
        return
    try:
        m.attach_at(mount, kept)
    finally:
        os.close(mount)


def _program(modules: str) -> bytes:
    """What the interpreter is to execute, compiled. It has the text of the module that reads the
    others in it, so as to look for none before."""
    with open(remembered.__file__, encoding="utf-8") as file:
        text = file.read()
    known = f"'' if recall({modules!r}) else {modules!r}"
    code = compile(f"{text}\n{again_as(known)}", "wherry-runtime", "exec", dont_inherit=True)
    return MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
