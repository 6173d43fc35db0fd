"""Values of options: sizes, durations, key=value pairs, files of them, comma-separated fields."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping

from wherry.cli.options import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?([kmgtp]?)i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}


def parse_size(text: str) -> int:
    """Bytes of ``512m``, ``1.5g``, ``64kb``; in powers of 1024. Empty is 0."""
    if not text:
        return 0
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"invalid size: '{text}'")
    return int(float(found[1]) * 1024 ** _POWERS[found[2].lower()])


def parse_swap(text: str) -> int:
    """A size, or -1 for no limit."""
    return -1 if text == "-1" else parse_size(text)


def parse_cpus(text: str) -> int:
    """Billionths of a processor: ``1.5`` is 1,500,000,000."""
    try:
        return round(float(text or 0) * 1_000_000_000)
    except (ValueError, OverflowError):
        raise UsageError(f"invalid number of CPUs: {text!r}") from None


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1m30s``, ``500ms``; Go's syntax. Empty and ``0`` are 0."""
    if text in ("", "0"):
        return 0
    parts = list(_DURATION.finditer(text))
    if "".join(part[0] for part in parts) != text:
        raise UsageError(
            f'invalid duration "{text}": want a number and a unit, such as 30s or 1m30s'
        )
    return sum(round(float(part[1]) * _NANOSECONDS[part[2]]) for part in parts)


def pairs(texts: Iterable[str], what: str = "") -> dict[str, str]:
    """``name=value`` texts as a mapping. A name alone has an empty value, or is refused if
    ``what`` (the kind of option) is given."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or (what and not equals):
            raise UsageError(f"invalid {what or 'value'} {text!r}: want name=value")
        found[name] = value
    return found


def environment(
    texts: Iterable[str], files: Iterable[str], environ: Mapping[str, str]
) -> list[str]:
    """``NAME=value`` entries, files first. A name alone takes its value from ``environ``, and is
    left out if that has none."""
    entries = [line for path in files for line in _lines(path)]
    found = []
    for entry in (*entries, *texts):
        name, equals, _ = entry.partition("=")
        if not name:
            raise UsageError(f"invalid environment variable: {entry}")
        if equals:
            found.append(entry)
        elif name in environ:
            found.append(f"{name}={environ[name]}")
    return found


def labels(texts: Iterable[str], files: Iterable[str]) -> dict[str, str]:
    """Labels of files, then of the command line."""
    return pairs([*(line for path in files for line in _lines(path)), *texts])


def _lines(path: str) -> Iterator[str]:
    """Lines of a file of variables or labels, without comments and empty lines."""
    with open(os.path.expanduser(path), encoding="utf-8-sig") as source:
        for number, line in enumerate(source, 1):
            text = line.strip("\r\n").lstrip()
            if not text or text.startswith("#"):
                continue
            name = text.partition("=")[0]
            if not name or any(character.isspace() for character in name):
                raise UsageError(f"{path}, line {number}: {name!r} is not a variable's name")
            yield text


def csv_fields(text: str) -> list[str]:
    """Comma-separated fields; one in double quotes may hold commas (RFC 4180)."""
    fields, field, quoted = [], "", False
    characters = iter(text.replace('""', "\0"))
    for character in characters:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(field)
            field = ""
        else:
            field += character
    if quoted:
        raise UsageError(f"invalid value {text!r}: a quote is not closed")
    return [item.replace("\0", '"') for item in (*fields, field)]


def parse_bool(text: str, what: str) -> bool:
    lowered = text.lower()
    if lowered not in ("", "1", "t", "true", "0", "f", "false"):
        raise UsageError(f"invalid value for {what}: {text!r} is neither true nor false")
    return lowered in ("", "1", "t", "true")


def split_image(name: str) -> tuple[str, str]:
    """Repository and tag of an image's name; the tag is empty if it has none, and a digest
    counts as a tag (as ``POST /images/create`` takes it)."""
    repository, at, digest = name.partition("@")
    head, colon, tag = repository.rpartition(":")
    if at:
        return (head if colon and "/" not in tag else repository), digest
    return (name, "") if not colon or "/" in tag else (head, tag)
