"""Published and exposed ports: ``[[address:]host:]container[/protocol]``, ranges included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wherry.cli.options import UsageError

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from typing import Any

_PROTOCOLS = ("tcp", "udp", "sctp")

Bindings = dict[str, list[dict[str, str]]]


def parse_ports(
    published: Iterable[str], exposed: Iterable[str]
) -> tuple[dict[str, Any], Bindings]:
    """The API's ``ExposedPorts`` and ``PortBindings``."""
    ports: dict[str, Any] = {}
    bindings: Bindings = {}
    for text in published:
        if "=" in text:
            text = _long_form(text)
        for port, binding in _publish(text):
            ports[port] = {}
            bindings.setdefault(port, []).append(binding)
    for text in exposed:
        numbers, protocol = _protocol(text)
        ports |= {f"{number}/{protocol}": {} for number in _range(numbers, text)}
    return ports, bindings


def _publish(text: str) -> Iterable[tuple[str, dict[str, str]]]:
    rest, protocol = _protocol(text)
    outside, _, inside = rest.rpartition(":")
    address, _, host = outside.rpartition(":")
    if address.startswith("[") != address.endswith("]"):
        raise UsageError(f"invalid port specification: {text!r}")
    address = address.strip("[]")
    targets = _range(inside, text)
    sources = [str(number) for number in _range(host, text)] if host else [""] * len(targets)
    if len(sources) != len(targets):
        if len(targets) > 1:
            raise UsageError(f"invalid ranges specified for container and host ports: {text}")
        sources = [host]  # the engine picks a free one
    for target, source in zip(targets, sources, strict=True):
        yield f"{target}/{protocol}", {"HostIp": address, "HostPort": source}


def _long_form(text: str) -> str:
    """``published=8080,target=80,protocol=tcp`` in the short form."""
    fields: Mapping[str, str] = dict(part.partition("=")[::2] for part in text.split(","))
    unknown = set(fields) - {"published", "target", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise UsageError(f"invalid port specification: {text!r}")
    published = fields.get("published", "")
    short = f"{published}:{fields['target']}" if published else fields["target"]
    return f"{short}/{fields.get('protocol', 'tcp')}"


def _protocol(text: str) -> tuple[str, str]:
    rest, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        raise UsageError(f"invalid protocol in {text!r}: want tcp, udp or sctp")
    return rest, protocol


def _range(text: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise UsageError(f"invalid port in {whole!r}: {text!r} is not a number")
    if not 0 < int(first) <= int(last) < 65536:
        raise UsageError(f"invalid port in {whole!r}: {text!r} is not between 1 and 65535")
    return range(int(first), int(last) + 1)
