"""The names of all commands, and the module that each is loaded from when it is used.

A line is ``name: (module, summary)``; the module has the command in ``COMMANDS[name]``.
"""

from __future__ import annotations

Place = tuple[str, str]
Table = dict[str, Place]

CONTAINER: Table = {
    "attach": ("attach", "Attach local standard input, output, and error streams to a container"),
    "commit": ("commit", "Create a new image from a container's changes"),
    "cp": ("copy", "Copy files between a container and the local filesystem"),
    "create": ("run", "Create a new container"),
    "diff": ("processes", "Inspect changes to files on a container's filesystem"),
    "exec": ("attach", "Execute a command in a running container"),
    "export": ("copy", "Export a container's filesystem as a tar archive"),
    "kill": ("lifecycle", "Kill one or more running containers"),
    "logs": ("logs", "Fetch the logs of a container"),
    "pause": ("lifecycle", "Pause all processes within one or more containers"),
    "port": ("processes", "List port mappings of a container"),
    "rename": ("lifecycle", "Rename a container"),
    "restart": ("lifecycle", "Restart one or more containers"),
    "rm": ("lifecycle", "Remove one or more containers"),
    "run": ("run", "Create and run a new container from an image"),
    "start": ("start", "Start one or more stopped containers"),
    "stats": ("stats", "Display a live stream of container resource usage statistics"),
    "stop": ("lifecycle", "Stop one or more running containers"),
    "top": ("processes", "Display the running processes of a container"),
    "unpause": ("lifecycle", "Unpause all processes within one or more containers"),
    "update": ("update", "Update configuration of one or more containers"),
    "wait": ("lifecycle", "Block until containers stop, then print their exit codes"),
}
IMAGE: Table = {
    "build": ("build", "Build an image from a Dockerfile"),
    "history": ("images", "Show the history of an image"),
    "import": ("commit", "Create an image from the file system in an archive"),
    "load": ("archives", "Load an image from a tar archive or standard input"),
    "pull": ("transfer", "Download an image from a registry"),
    "push": ("transfer", "Upload an image to a registry"),
    "save": ("archives", "Save images to a tar archive (streamed to standard output)"),
    "tag": ("images", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
}
NETWORK: Table = {
    "connect": ("network", "Connect a container to a network"),
    "create": ("network", "Create a network"),
    "disconnect": ("network", "Disconnect a container from a network"),
    "inspect": ("inspect_groups", "Display detailed information on networks"),
    "ls": ("network", "List networks"),
    "prune": ("prune", "Remove all unused networks"),
    "rm": ("network", "Remove one or more networks"),
}
VOLUME: Table = {
    "clone": ("volume_backups", "Make a volume with the content of another"),
    "create": ("volume", "Create a volume"),
    "export": ("volume_backups", "Write the content of a volume to a tar archive"),
    "import": ("volume_backups", "Fill an empty or new volume from a tar archive"),
    "inspect": ("inspect_groups", "Display detailed information on volumes"),
    "ls": ("volume", "List volumes"),
    "prune": ("prune", "Remove unused local volumes"),
    "rm": ("volume", "Remove one or more volumes"),
    "snapshot": ("volume_backups", "Keep what is in a volume now as another volume"),
}
SYSTEM: Table = {
    "df": ("disk", "Show disk usage"),
    "events": ("events", "Get real time events from the engine"),
    "fsck": ("daemon", "Check, and repair, a data root that no engine uses"),
    "info": ("system", "Display system-wide information"),
    "prune": ("prune", "Remove unused data"),
}

GROUPS: dict[str, tuple[str, Table]] = {
    "container": (
        "Manage containers",
        CONTAINER
        | {
            "inspect": ("inspect_groups", "Display detailed information on containers"),
            "ls": ("ps", "List containers"),
            "prune": ("prune", "Remove all stopped containers"),
        },
    ),
    "image": (
        "Manage images",
        IMAGE
        | {
            "inspect": ("inspect_groups", "Display detailed information on images"),
            "ls": ("images", "List images"),
            "prune": ("prune", "Remove unused images"),
            "rm": ("images", "Remove one or more images"),
        },
    ),
    "network": ("Manage networks", NETWORK),
    "system": ("Manage Wherry", SYSTEM),
    "volume": ("Manage volumes", VOLUME),
}

ALONE: Table = {
    "bootstrap": ("bootstrap", "Make a base image from the distribution's package mirror"),
    "daemon": ("daemon", "Run the engine in the foreground"),
    "events": SYSTEM["events"],
    "images": ("images", "List images"),
    "info": SYSTEM["info"],
    "inspect": ("inspect", "Return low-level information on objects"),
    "login": ("login", "Log in to a registry"),
    "logout": ("login", "Log out from a registry"),
    "ps": ("ps", "List containers"),
    "rmi": ("images", "Remove one or more images"),
    "version": ("system", "Show the version information"),
}

COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "bootstrap", "login", "version")
"""What the help shows first."""

TOP: Table = CONTAINER | IMAGE | ALONE

ALIASES = {"list": "ls", "remove": "rm"}
"""Other names that Docker takes inside a group; ``container ps`` is there, too."""


def find(words: list[str]) -> tuple[str, Place, list[str]] | None:
    """The command that ``words`` begin with: its full name, its place, and the words after it.

    None if there is no such command (or only a group's name).
    """
    if not words:
        return None
    first, rest = words[0], words[1:]
    if first in GROUPS and rest:
        second = "ls" if words[:2] == ["container", "ps"] else ALIASES.get(rest[0], rest[0])
        place = GROUPS[first][1].get(second)
        return (f"{first} {second}", place, rest[1:]) if place else None
    place = TOP.get(first)
    return (first, place, rest) if place else None
