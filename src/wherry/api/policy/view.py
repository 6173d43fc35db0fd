"""What of an engine a policy shows. What it does not show does not exist for the client."""

from __future__ import annotations

from typing import NoReturn

from wherry.api.policy.model import Policy
from wherry.api.policy.names import named
from wherry.engine.api import EngineApi
from wherry.engine.records import Container
from wherry.errors import InvalidArgument, NotFound
from wherry.network.api import Network
from wherry.store.api import Image
from wherry.volume.api import Volume

_SHARED_NETWORKS = ("bridge", "none")


class View:
    """Look-ups that raise NotFound, in Docker's words, for what belongs to others."""

    def __init__(self, engine: EngineApi, policy: Policy) -> None:
        self.engine = engine
        self.policy = policy

    def container(self, ref: str) -> Container:
        found = self.engine.containers.get(ref)
        if not self.policy.carries(found.config.labels):
            raise NotFound(f"No such container: {ref}")
        return found

    def joined(self, ref: str) -> None:
        """Refused for a container that another one may not be joined to. Not NotFound, which
        clients take for a missing image when they create a container."""
        try:
            self.container(ref)
        except (NotFound, InvalidArgument):
            raise self.policy.refusal(f"joining the container {ref}", "labels") from None

    def containers(self) -> tuple[Container, ...]:
        every = self.engine.containers.list(running_only=False)
        return tuple(c for c in every if self.policy.carries(c.config.labels))

    def image(self, name: str) -> Image:
        found = self.engine.images.get(name)
        if not self.shows_image(found):
            raise NotFound(f"No such image: {name}")
        return found

    def shows_image(self, image: Image) -> bool:
        """By one of its names, or because it was made through a socket with these labels."""
        names = (*image.references, *image.repo_digests)
        return self.owns_image(image) or any(map(self.usable_name, names))

    def usable_name(self, name: str) -> bool:
        """What a client may name it may also use."""
        return named(name, self.policy.image_patterns + self.policy.tag_patterns)

    def owns_image(self, image: Image) -> bool:
        return bool(self.policy.labels) and self.policy.carries(image.config.config.labels)

    def base_image(self, name: str) -> None:
        """Refused, if an image may not be built on: one that is here, or would be pulled."""
        try:
            allowed = self.shows_image(self.engine.images.get(name))
        except (NotFound, InvalidArgument):
            allowed = self.usable_name(name)
        if not allowed:
            raise self.policy.refusal(f"the image {name}", "images")

    def new_name(self, name: str) -> None:
        """Refused, if an image may not be called so."""
        if not named(name, self.policy.tag_patterns):
            raise self.policy.refusal(f"the image name {name}", "tags")

    def volume(self, name: str) -> Volume:
        found = self.engine.volumes.get(name)
        if not self.shows_volume(found):
            raise NotFound(f"get {name}: no such volume")
        return found

    def shows_volume(self, volume: Volume) -> bool:
        """Volumes without a name of their own carry no labels: they are their container's."""
        if self.policy.carries(volume.labels):
            return True
        if not volume.anonymous:
            return False
        users = self.engine.volumes.users(volume.name)
        mine = {container.id for container in self.containers()}
        return bool(users) and mine.issuperset(users)

    def network(self, ref: str) -> Network:
        found = self.engine.networks.get(ref)
        if not self.shows_network(found):
            raise NotFound(f"network {ref} not found")
        return found

    def shows_network(self, network: Network) -> bool:
        if network.name in _SHARED_NETWORKS:
            return True
        if network.name == "host":
            return "network" in self.policy.grant.host_namespaces
        return self.policy.carries(network.labels)


class Part:
    """A part of the engine, of which a subclass shows what a rule was written for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._policy = view.policy
        self._engine = view.engine

    def __getattr__(self, name: str) -> NoReturn:
        raise self._policy.refusal(f"what the engine calls {name}", "no rule is about it")
