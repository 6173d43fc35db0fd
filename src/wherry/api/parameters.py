"""The query parameters of each operation, for the engine's own description.

A word is a name and its kind; a test holds the names against what the handlers read. Kinds:
``flag`` (present and none of 0, no, false, none), ``number``, ``text``, ``texts`` (may be given
again and again), ``json``, ``filters`` (JSON: names with lists of values), ``time`` (seconds since
the epoch, RFC 3339, or a duration before now).
"""

from __future__ import annotations

from typing import Any

_TABLE = """
ContainerList all:flag limit:number size:flag filters:filters
ContainerCreate name:text platform:text hostca:flag
ContainerInspect size:flag
ContainerTop ps_args:text
ContainerLogs follow:flag stdout:flag stderr:flag since:time until:time timestamps:flag tail:text details:flag
ContainerStats stream:flag one-shot:flag
ContainerResize h:number w:number
ContainerStop t:number signal:text
ContainerRestart t:number signal:text
ContainerKill signal:text
ContainerRename name:text
ContainerAttach detachKeys:text logs:flag stream:flag stdin:flag stdout:flag stderr:flag
ContainerAttachWebsocket detachKeys:text logs:flag stream:flag stdin:flag stdout:flag stderr:flag
ContainerWait condition:text
ContainerDelete v:flag force:flag link:flag
ContainerArchiveInfo path:text
ContainerArchive path:text
PutContainerArchive path:text noOverwriteDirNonDir:flag copyUIDGID:flag
ContainerPrune filters:filters
ImageList all:flag shared-size:flag filters:filters filter:text
ImageBuild dockerfile:text t:texts extrahosts:texts remote:text q:flag nocache:flag cachefrom:json pull:flag rm:flag forcerm:flag memory:number memswap:number cpushares:number cpusetcpus:text cpusetmems:text cpuperiod:number cpuquota:number cgroupparent:text ulimits:json buildargs:json shmsize:number squash:flag labels:json networkmode:text securityopt:json platform:text target:text outputs:text isolation:text version:text hostca:flag
BuildPrune all:flag reserved-space:number keep-storage:number filters:filters
ImageCreate fromImage:text fromSrc:text repo:text tag:text message:text platform:text changes:texts
ImagePush tag:text
ImageTag repo:text tag:text
ImageDelete force:flag noprune:flag
ImagePrune filters:filters
ImageCommit container:text repo:text tag:text comment:text author:text pause:flag changes:texts
SystemEvents since:time until:time filters:filters
SystemDataUsage type:texts
ImageGetAll names:texts
ImageLoad quiet:flag
ExecResize h:number w:number
VolumeList filters:filters
VolumeDelete force:flag
VolumePrune filters:filters
NetworkList filters:filters
NetworkInspect scope:text
NetworkPrune filters:filters
WherryBootstrap name:text
"""  # noqa: E501 - one line for each operation

_SCHEMAS: dict[str, dict[str, Any]] = {
    "flag": {"type": "string"},
    "number": {"type": "string", "pattern": "^ *[+-]?[0-9_]* *$"},
    "text": {"type": "string"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "json": {"type": "string"},
    "filters": {"type": "string"},
    "time": {"type": "string"},
}


def parameters() -> dict[str, dict[str, str]]:
    """By operation: each parameter's kind by its name."""
    lines = (line.split() for line in _TABLE.strip().splitlines())
    return {first: dict(_pair(word) for word in rest) for first, *rest in lines}


def _pair(word: str) -> tuple[str, str]:
    name, _, kind = word.rpartition(":")
    return name, kind


def described(name: str, kind: str) -> dict[str, Any]:
    """One parameter of OpenAPI."""
    found: dict[str, Any] = {"name": name, "in": "query", "schema": _SCHEMAS[kind]}
    if kind in ("json", "filters"):
        found["content"] = {"application/json": {"schema": {}}}
        del found["schema"]
    return found
