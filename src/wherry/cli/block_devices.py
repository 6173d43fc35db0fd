"""Limits of single block devices, and requests for devices that only a driver knows."""

from __future__ import annotations

from wherry.cli.options import Arguments, UsageError
from wherry.cli.values import csv_fields, parse_size

TYPE_CHECKING = False  # importing typing costs 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Body = dict[str, Any]


def device_limits(arguments: Arguments) -> Body:
    """The members of HostConfig that limit block devices; UsageError."""
    return {
        "BlkioWeightDevice": _all(arguments, "blkio-weight-device", "Weight", _count),
        "BlkioDeviceReadBps": _all(arguments, "device-read-bps", "Rate", parse_size),
        "BlkioDeviceWriteBps": _all(arguments, "device-write-bps", "Rate", parse_size),
        "BlkioDeviceReadIOps": _all(arguments, "device-read-iops", "Rate", _count),
        "BlkioDeviceWriteIOps": _all(arguments, "device-write-iops", "Rate", _count),
        "DeviceRequests": [_gpus(text) for text in arguments.many("gpus")],
    }


def _all(arguments: Arguments, option: str, member: str, read: Callable[[str], int]) -> list[Body]:
    return [_one(text, option, member, read) for text in arguments.many(option)]


def _one(text: str, option: str, member: str, read: Callable[[str], int]) -> Body:
    path, _, value = text.rpartition(":")
    if not path.startswith("/dev/"):
        raise UsageError(f"invalid argument {text!r} for --{option}: want /dev/NAME:VALUE")
    return {"Path": path, member: read(value)}


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"invalid rate or weight {text!r}: want a number")
    return int(text)


def _gpus(text: str) -> Body:
    """``all``, a count, or fields: ``device=0,capabilities=utility``."""
    request: Body = {"Driver": "", "Count": 0, "DeviceIDs": [], "Capabilities": [["gpu"]]}
    for field in csv_fields(text):
        name, equals, value = field.partition("=")
        if not equals:
            name, value = "count", field
        if name == "count":
            request["Count"] = -1 if value == "all" else _count(value)
        elif name == "device":
            request["DeviceIDs"] = value.split(",")
        elif name == "driver":
            request["Driver"] = value
        elif name == "capabilities":
            request["Capabilities"] = [["gpu", *value.split(",")]]
        else:
            raise UsageError(f"unexpected key {name!r} in --gpus {text}")
    return request
