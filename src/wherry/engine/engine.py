"""The engine as a whole: its services, and their orderly end."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wherry.engine.containers.execs import Execs
from wherry.engine.containers.service import Containers
from wherry.engine.events import Events
from wherry.engine.files.copying import ContainerFiles
from wherry.engine.host.system import System
from wherry.engine.images.builds import Builds
from wherry.engine.images.commits import ImageMaker
from wherry.engine.images.service import ImageService
from wherry.engine.mounts.backups import VolumeBackups
from wherry.engine.networks.attachments import Attachments
from wherry.network.api import Networks
from wherry.store.api import Images
from wherry.volume.api import Volumes


class Engine(msgspec.Struct, frozen=True):
    """Implements ``engine.api.EngineApi``."""

    containers: Containers
    execs: Execs
    files: ContainerFiles
    commits: ImageMaker
    images: ImageService
    image_store: Images
    networks: Networks
    attachments: Attachments
    volumes: Volumes
    volume_backups: VolumeBackups
    events: Events
    system: System
    builds: Builds
    close: Callable[[], None]
    """End the engine's own threads and helpers. Containers go on."""
