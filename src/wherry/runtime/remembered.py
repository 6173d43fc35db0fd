"""The modules of a command in one file, which is read faster than a hundred.

It is written beside the interpreter that is kept (``kept.py``), where only root can write. It holds
what the interpreter's own cache does (``__pycache__``), under the same condition: a module counts
as remembered while its source has the size and the time that it had.
"""

from __future__ import annotations

import marshal
import os
import sys

# As importlib.machinery has them; that would come with four modules that are remembered themselves.
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

    _Entry = tuple[str, bool, CodeType | None, int, int]
    """Path of the source; whether it is a package; the code, or None for a library in C; the
    source's time in nanoseconds and its size in bytes."""


class _Finder:
    """Both parts of importlib's protocol; extensions are only found by it."""

    def __init__(self, entries: dict[str, _Entry]) -> None:
        self._entries = entries

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        entry = self._entries.get(name)
        if entry is None:
            return None
        source, is_package, code, _, _ = entry
        loader: Any = self if code is not None else ExtensionFileLoader(name, source)
        spec = ModuleSpec(name, loader, origin=source, is_package=is_package)
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(source))
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        code = self._entries[module.__name__][2]
        assert code is not None
        exec(code, vars(module))  # noqa: S102 - the module's own


def recall(path: str) -> bool:
    """Have what is imported from now on come from ``path``; False if there is nothing there that
    can be trusted and is true."""
    data = read_of_root(path)
    entries = _entries(data) if data is not None else None
    if entries is None or not all(_is_true(entry) for entry in entries.values()):
        return False
    sys.meta_path.insert(0, _Finder(entries))
    return True


def read_of_root(path: str) -> bytes | None:
    """A file that nobody but root can have written; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        return None if found.st_uid or found.st_mode & 0o022 else os.read(fd, found.st_size)
    finally:
        os.close(fd)


def _entries(data: bytes) -> dict[str, _Entry] | None:
    try:
        version, entries = marshal.loads(data)
    except (ValueError, EOFError, TypeError):
        return None
    return entries if version == sys.version else None


def _is_true(entry: _Entry) -> bool:
    try:
        found = os.stat(entry[0])
    except OSError:
        return False
    return found.st_mtime_ns == entry[3] and found.st_size == entry[4]


def remember(path: str) -> None:
    """Write down the modules that there are; OSError where that cannot be."""
    entries = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and name == spec.name and spec.origin is not None:
            code = _code(spec)
            if code is not None or isinstance(spec.loader, ExtensionFileLoader):
                found = os.stat(spec.origin)
                times = (found.st_mtime_ns, found.st_size)
                is_package = spec.submodule_search_locations is not None
                entries[name] = (spec.origin, is_package, code, *times)
    from wherry.fs.atomic import write_atomic  # what only recalls does without

    write_atomic(path, marshal.dumps((sys.version, entries)))


def _code(spec: ModuleSpec) -> CodeType | None:
    loader = spec.loader
    return loader.get_code(spec.name) if isinstance(loader, SourceFileLoader) else None
