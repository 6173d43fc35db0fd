"""The operations of the API: their names, where they are, what they do, in a sentence.

Policies name operations, the engine's own description (``GET /openapi.json``) is made of this
table and of the wire types, and a test holds it against the routes.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

_TABLE = """
ContainerList GET /containers/json: List containers, newest first
ContainerCreate POST /containers/create: Make a container
ContainerInspect GET /containers/{id}/json: Tell all about a container
ContainerTop GET /containers/{id}/top: List the processes of a container
ContainerLogs GET /containers/{id}/logs: Read or follow what a container printed
ContainerChanges GET /containers/{id}/changes: List what differs from the image
ContainerExport GET /containers/{id}/export: Write the file system as a tar
ContainerStats GET /containers/{id}/stats: Measure what a container uses
ContainerResize POST /containers/{id}/resize: Set the size of the terminal
ContainerStart POST /containers/{id}/start: Start a container
ContainerStop POST /containers/{id}/stop: Ask a container to end, then kill it
ContainerRestart POST /containers/{id}/restart: Stop and start a container
ContainerKill POST /containers/{id}/kill: Send a signal to a container
ContainerUpdate POST /containers/{id}/update: Change limits and the restart policy
ContainerRename POST /containers/{id}/rename: Give a container another name
ContainerPause POST /containers/{id}/pause: Freeze all processes of a container
ContainerUnpause POST /containers/{id}/unpause: Let a frozen container go on
ContainerAttach POST /containers/{id}/attach: Take the streams of a container
ContainerAttachWebsocket GET /containers/{id}/attach/ws: Take the streams over a WebSocket
ContainerWait POST /containers/{id}/wait: Wait for the end of a container
ContainerDelete DELETE /containers/{id}: Remove a container, or a link
ContainerArchiveInfo HEAD /containers/{id}/archive: Tell about a file in a container
ContainerArchive GET /containers/{id}/archive: Read files of a container as a tar
PutContainerArchive PUT /containers/{id}/archive: Unpack a tar in a container
ContainerPrune POST /containers/prune: Remove all containers that do not run
CheckpointList GET /containers/{id}/checkpoints: List checkpoints (refused)
CheckpointCreate POST /containers/{id}/checkpoints: Make a checkpoint (refused)
ImageList GET /images/json: List images
ImageBuild POST /build: Build an image from a Dockerfile
BuildPrune POST /build/prune: Forget cached steps of builds
ImageCreate POST /images/create: Pull an image, or make one of an archive
ImageInspect GET /images/{name}/json: Tell all about an image
ImageHistory GET /images/{name}/history: List the steps an image was made by
ImagePush POST /images/{name}/push: Send an image to its registry
ImageTag POST /images/{name}/tag: Give an image another name
ImageDelete DELETE /images/{name}: Take a name away, and the image with its last
ImageSearch GET /images/search: Search a registry (refused)
ImagePrune POST /images/prune: Remove images that nothing needs
SystemAuth POST /auth: See whether a registry takes credentials
SystemInfo GET /info: Tell about the engine and its host
SystemVersion GET /version: Tell versions
SystemPing GET /_ping: Answer
SystemPingHead HEAD /_ping: Answer
ImageCommit POST /commit: Make an image of what a container changed
SystemEvents GET /events: Read or follow what happens
SystemDataUsage GET /system/df: Tell what takes place on the disk
ImageGet GET /images/{name}/get: Write an image as an archive
ImageGetAll GET /images/get: Write several images as an archive
ImageLoad POST /images/load: Read images from an archive
ContainerExec POST /containers/{id}/exec: Prepare another process in a container
ExecStart POST /exec/{id}/start: Start a prepared process
ExecResize POST /exec/{id}/resize: Set the size of its terminal
ExecInspect GET /exec/{id}/json: Tell about a process
VolumeList GET /volumes: List volumes
VolumeCreate POST /volumes/create: Make a volume
VolumeInspect GET /volumes/{name}: Tell about a volume
VolumeUpdate PUT /volumes/{name}: Change a cluster's volume (there is no cluster)
VolumeDelete DELETE /volumes/{name}: Remove a volume
WherryVolumeExport GET /volumes/{name}/export: Write a volume's content as a tar
WherryVolumeImport POST /volumes/{name}/import: Unpack a tar in an empty or new volume
WherryVolumeClone POST /volumes/{name}/clone: Make a volume with the same content
WherryVolumeSnapshot POST /volumes/{name}/snapshots: Make a volume that shows another as it is now
WherryVolumeSnapshotList GET /volumes/{name}/snapshots: List the snapshots of a volume
VolumePrune POST /volumes/prune: Remove volumes that nobody uses
NetworkList GET /networks: List networks
NetworkInspect GET /networks/{id}: Tell about a network
NetworkDelete DELETE /networks/{id}: Remove a network
NetworkCreate POST /networks/create: Make a network
NetworkConnect POST /networks/{id}/connect: Attach a container to a network
NetworkDisconnect POST /networks/{id}/disconnect: Part a container from a network
NetworkPrune POST /networks/prune: Remove networks that nobody uses
PluginList GET /plugins: List plugins (there are none)
GetPluginPrivileges GET /plugins/privileges: Tell what a plugin asks for (refused)
PluginPull POST /plugins/pull: Install a plugin (refused)
PluginInspect GET /plugins/{name}/json: Tell about a plugin (there are none)
PluginDelete DELETE /plugins/{name}: Remove a plugin (there are none)
PluginEnable POST /plugins/{name}/enable: Enable a plugin (there are none)
PluginDisable POST /plugins/{name}/disable: Disable a plugin (there are none)
PluginUpgrade POST /plugins/{name}/upgrade: Upgrade a plugin (there are none)
PluginCreate POST /plugins/create: Make a plugin (refused)
PluginPush POST /plugins/{name}/push: Push a plugin (there are none)
PluginSet POST /plugins/{name}/set: Configure a plugin (there are none)
NodeList GET /nodes: List nodes (there is no swarm)
NodeInspect GET /nodes/{id}: Tell about a node (there is no swarm)
NodeDelete DELETE /nodes/{id}: Remove a node (there is no swarm)
NodeUpdate POST /nodes/{id}/update: Change a node (there is no swarm)
SwarmInspect GET /swarm: Tell about the swarm (there is none)
SwarmInit POST /swarm/init: Begin a swarm (refused)
SwarmJoin POST /swarm/join: Join a swarm (refused)
SwarmLeave POST /swarm/leave: Leave the swarm (there is none)
SwarmUpdate POST /swarm/update: Change the swarm (there is none)
SwarmUnlockkey GET /swarm/unlockkey: Tell the swarm's key (there is none)
SwarmUnlock POST /swarm/unlock: Unlock the swarm (there is none)
ServiceList GET /services: List services (there is no swarm)
ServiceCreate POST /services/create: Make a service (there is no swarm)
ServiceInspect GET /services/{id}: Tell about a service (there is no swarm)
ServiceDelete DELETE /services/{id}: Remove a service (there is no swarm)
ServiceUpdate POST /services/{id}/update: Change a service (there is no swarm)
ServiceLogs GET /services/{id}/logs: Read a service's logs (there is no swarm)
TaskList GET /tasks: List tasks (there is no swarm)
TaskInspect GET /tasks/{id}: Tell about a task (there is no swarm)
TaskLogs GET /tasks/{id}/logs: Read a task's logs (there is no swarm)
SecretList GET /secrets: List secrets (there is no swarm)
SecretCreate POST /secrets/create: Make a secret (there is no swarm)
SecretInspect GET /secrets/{id}: Tell about a secret (there is no swarm)
SecretDelete DELETE /secrets/{id}: Remove a secret (there is no swarm)
SecretUpdate POST /secrets/{id}/update: Change a secret (there is no swarm)
ConfigList GET /configs: List configs (there is no swarm)
ConfigCreate POST /configs/create: Make a config (there is no swarm)
ConfigInspect GET /configs/{id}: Tell about a config (there is no swarm)
ConfigDelete DELETE /configs/{id}: Remove a config (there is no swarm)
ConfigUpdate POST /configs/{id}/update: Change a config (there is no swarm)
DistributionInspect GET /distribution/{name}/json: Ask a registry about an image
Session POST /session: Open a session of BuildKit (refused)
Grpc POST /grpc: Open a connection to BuildKit (refused)
WherryBootstrap POST /wherry/bootstrap: Make a base image of a distribution's packages
WherryBootstrapList GET /wherry/bootstrap: List what can be bootstrapped
WherryMetrics GET /metrics: Figures for Prometheus
WherryOpenApi GET /openapi.json: This description
WherryOpenApiYaml GET /openapi.yaml: This description, for those who ask for YAML
"""


class Operation(msgspec.Struct, frozen=True):
    """``path`` has names in braces for what varies; ``{name}`` may hold slashes."""

    name: str
    method: str
    path: str
    summary: str

    @property
    def group(self) -> str:
        """The first part of the path."""
        return self.path[1:].partition("/")[0].removesuffix(".json")


class _Operations:
    @cached_property
    def all(self) -> tuple[Operation, ...]:
        return tuple(_parsed(line) for line in _TABLE.strip().splitlines())

    @cached_property
    def by_place(self) -> dict[tuple[str, str], Operation]:
        """By method and path; what varies in the path is a star."""
        return {(o.method, starred(o.path)): o for o in self.all}


def _parsed(line: str) -> Operation:
    head, _, summary = line.partition(": ")
    name, method, path = head.split(" ")
    return Operation(name, method, path, summary)


def starred(path: str) -> str:
    """``/a/{id}/b`` and ``/a/**/b`` as ``/a/*/b``."""
    parts = (part if part[:1] not in ("{", "*") else "*" for part in path.split("/"))
    return "/".join(parts)


OPERATIONS = _Operations()
OPERATION_NAMES = frozenset(operation.name for operation in OPERATIONS.all)


def operation_of(method: str, route: str) -> Operation | None:
    """The operation that a route (``/containers/*/json``) serves."""
    return OPERATIONS.by_place.get((method, starred(route)))
