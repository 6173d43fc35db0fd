"""The modules of a command in one file, which is read faster than a hundred.

It is written beside the interpreter that is kept (``kept.py``), where only root can write. It holds
what the interpreter's own cache does (``__pycache__``), under the same condition: a module counts
as remembered while its source has the size and the time that it had.
"""

import marshal
import os
import sys

# As importlib.machinery has them; that would come with four modules that are remembered themselves.
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    _Entry = tuple[str, bool, int, int, int, int]
    """Path of the source; whether it is a package; where the code begins and how many bytes it has,
    none of a library in C; the source's time in nanoseconds and its size in bytes."""

_PLACE = 8  # bytes at the beginning that tell where the table is


class _Finder:
    """Both parts of importlib's protocol; extensions are only found by it."""

    def __init__(self, file: int, entries: "dict[str, _Entry]") -> None:
        self._file = file
        self._entries = entries

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> "ModuleSpec | None":
        entry = self._entries.get(name)
        if entry is None:
            return None
        source, is_package, _, length, _, _ = entry
        loader: Any = self if length else ExtensionFileLoader(name, source)
        spec = ModuleSpec(name, loader, origin=source, is_package=is_package)
        spec.has_location = not length  # or each time it would be asked where a cache of it may be
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(source))
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: "ModuleType") -> None:
        source, _, start, length, _, _ = self._entries[module.__name__]
        module.__file__ = source
        code = marshal.loads(os.pread(self._file, length, start))
        exec(code, vars(module))  # noqa: S102 - the module's own


def recall(path: str) -> bool:
    """Have what is imported from now on come from ``path``; False if there is nothing there that
    can be trusted and is true. The file stays open: a module is read when it is imported, into
    memory that the next one takes."""
    file = open_of_root(path)
    if file < 0:
        return False
    entries = _entries(file)
    if entries is None or not all(map(_is_true, entries.values())):
        os.close(file)
        return False
    sys.meta_path.insert(0, _Finder(file, entries))
    return True


def open_of_root(path: str) -> int:
    """A descriptor of a file that nobody but root can have written; negative if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    found = os.fstat(fd)
    if found.st_uid or found.st_mode & 0o022:
        os.close(fd)
        return -1
    return fd


def read_of_root(path: str) -> bytes | None:
    """The content of such a file; None if there is none."""
    fd = open_of_root(path)
    if fd < 0:
        return None
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def _entries(file: int) -> "dict[str, _Entry] | None":
    start = int.from_bytes(os.pread(file, _PLACE, 0), "little")
    length = max(0, os.fstat(file).st_size - start)
    try:
        version, entries = marshal.loads(os.pread(file, length, start))
    except (ValueError, EOFError, TypeError):
        return None
    return entries if version == sys.version else None


def _is_true(entry: "_Entry") -> bool:
    try:
        found = os.stat(entry[0])
    except OSError:
        return False
    return found.st_mtime_ns == entry[4] and found.st_size == entry[5]


def remember(path: str) -> None:
    """Write down the modules that there are; OSError where that cannot be."""
    entries: dict[str, _Entry] = {}
    codes = bytearray(_PLACE)
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and name == spec.name and spec.origin is not None:
            code = _code(spec)
            if code or isinstance(spec.loader, ExtensionFileLoader):
                found = os.stat(spec.origin)
                times = (found.st_mtime_ns, found.st_size)
                is_package = spec.submodule_search_locations is not None
                entries[name] = (spec.origin, is_package, len(codes), len(code), *times)
                codes += code
    codes[:_PLACE] = len(codes).to_bytes(_PLACE, "little")
    from wherry.fs.atomic import write_atomic  # what only recalls does without

    write_atomic(path, bytes(codes) + marshal.dumps((sys.version, entries)))


def _code(spec: ModuleSpec) -> bytes:
    loader = spec.loader
    if not isinstance(loader, SourceFileLoader):
        return b""
    return marshal.dumps(loader.get_code(spec.name))
