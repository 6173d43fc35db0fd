"""The two formats of log files, byte for byte (docs/formats/logs.md)."""

from __future__ import annotations

import codecs
import struct
import time
from collections.abc import Mapping

# --- local: framed records ---------------------------------------------------------------------

MAGIC = b"wlog\x00\x01\r\n"
HEADER = struct.Struct("<IBq")  # payload's length, flags, time
TRAILER = struct.Struct("<I")  # the whole record's length, for reading backward
OVERHEAD = HEADER.size + TRAILER.size
STREAM_MASK = 0x03
PARTIAL = 0x80
MAX_PAYLOAD = 1 << 20


def local_record(stream: int, time_ns: int, data: bytes, partial: bool) -> bytes:
    """One record: whole lines of one stream, or one piece of a line."""
    flags = stream | (PARTIAL if partial else 0)
    return HEADER.pack(len(data), flags, time_ns) + data + TRAILER.pack(len(data) + OVERHEAD)


# --- json-file: Docker's lines -----------------------------------------------------------------

NAMES = {1: "stdout", 2: "stderr"}
_ESCAPES = {code: f"\\u{code:04x}" for code in [*range(0x20), ord("<"), ord(">"), ord("&")]}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord('"'): '\\"', ord("\\"): "\\\\"}
_ESCAPES |= {0x2028: "\\u2028", 0x2029: "\\u2029"}
_BEGINNING = '{"log":"'
_LAST = tuple(f"{nano:03d}".rstrip("0") + 'Z"}\n' + _BEGINNING for nano in range(1000))
_PLAIN = bytes({10, *range(0x20, 0x100)} - set(b'"\\<>&'))


def _replace_each(error: UnicodeError) -> tuple[str, int]:
    """Replace every byte that is not UTF-8 on its own, as Go does (Python joins some)."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\N{REPLACEMENT CHARACTER}" * (error.end - error.start), error.end


codecs.register_error("wherry-replace-each", _replace_each)


def json_attributes(attributes: Mapping[str, str]) -> str:
    """The member of each line that holds its container's attributes; nothing without any."""
    pairs = [f'"{n.translate(_ESCAPES)}":"{v.translate(_ESCAPES)}"' for n, v in attributes.items()]
    return f',"attrs":{{{",".join(pairs)}}}' if pairs else ""


def json_lines(stream: int, time_ns: int, data: bytes, attributes: str = "") -> bytes:
    """Docker's lines for whole lines of one stream, each a nanosecond after the one before, or for
    one piece of a line."""
    middle = f'","stream":"{NAMES[stream]}"{attributes},"time":"'
    lines = _escaped(data).split("\n")
    rest = lines.pop()
    text = ""
    if lines:
        parts = [""] * (2 * len(lines))
        parts[::2] = lines
        parts[1::2] = _line_ends("\\n" + middle, time_ns, len(lines))
        text = _BEGINNING + "".join(parts).removesuffix(_BEGINNING)
    if rest:
        text += f'{_BEGINNING}{rest}{middle}{rfc3339_nano(time_ns + len(lines))}"}}\n'
    return text.encode()


def _line_ends(middle: str, time_ns: int, count: int) -> list[str]:
    """What stands between one line's text and the next one's: of a thousand following times only
    the last three digits differ."""
    ends: list[str] = []
    while len(ends) < count:
        micros, low = divmod(time_ns + len(ends), 1000)
        before = middle + _seconds(micros // 1_000_000) + f".{micros % 1_000_000:06d}"
        some = [before + last for last in _LAST[low : low + count - len(ends)]]
        if not low:
            some[0] = f'{middle}{rfc3339_nano(micros * 1000)}"}}\n{_BEGINNING}'
        ends += some
    return ends


def _escaped(data: bytes) -> str:
    """All but newlines."""
    text = data.decode("utf-8", "wherry-replace-each")
    for character in _special(data):
        text = text.replace(character, _ESCAPES[ord(character)])
    return text


def _special(data: bytes) -> list[str]:
    """Which characters have to be escaped, newlines left out; most texts have few. The backslash
    comes first, since other escapes begin with one."""
    found = sorted(set(data.translate(None, _PLAIN)), key=lambda code: code != ord("\\"))
    line_ends = ["\u2028", "\u2029"] if b"\xe2\x80" in data else []
    return [*map(chr, found), *line_ends]


def split_lines(data: bytes) -> list[bytes]:
    """Split after newlines, and only there (bytes.splitlines also splits at other characters)."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def rfc3339_nano(time_ns: int) -> str:
    """A time in UTC as Go's RFC3339Nano: nanoseconds without trailing zeros."""
    seconds, fraction = divmod(time_ns, 1_000_000_000)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{_seconds(seconds)}.{digits}Z" if digits else f"{_seconds(seconds)}Z"


def _seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
