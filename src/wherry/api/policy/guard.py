"""An engine that knows only what a policy shows, and does only what it allows."""

from __future__ import annotations

from typing import Any, cast

from wherry.api.operations import operation_of, starred
from wherry.api.policy.guard_containers import GuardedContainers, GuardedExecs, GuardedFiles
from wherry.api.policy.guard_images import (
    GuardedBuilds,
    GuardedCommits,
    GuardedImages,
    GuardedStore,
)
from wherry.api.policy.guard_networks import GuardedAttachments, GuardedNetworks
from wherry.api.policy.guard_volumes import GuardedEvents, GuardedSystem, GuardedVolumes
from wherry.api.policy.model import Policy
from wherry.api.policy.view import View
from wherry.engine.api import EngineApi

_ALWAYS = ("SystemPing", "SystemPingHead")
"""What clients ask before anything else, and what tells nothing but versions."""


def check_call(policy: Policy, method: str, route: str) -> None:
    """Refused, if the policy does not allow what a route (``/containers/*/json``) serves."""
    operation = operation_of(method, route)
    name = operation.name if operation else ""
    path = operation.path if operation else starred(route)
    if name not in _ALWAYS and not policy.may_call(method, path, name):
        raise policy.refusal(f"{method} {path}", "mode" if policy.mode != "listed" else "endpoints")


class _GuardedEngine:
    """Implements ``engine.api.EngineApi``."""

    def __init__(self, engine: EngineApi, policy: Policy) -> None:
        view = View(engine, policy)
        self.containers = GuardedContainers(view)
        self.execs = GuardedExecs(view)
        self.files = GuardedFiles(view)
        self.commits = GuardedCommits(view)
        self.images = GuardedImages(view)
        self.image_store = GuardedStore(view)
        self.networks = GuardedNetworks(view)
        self.attachments = GuardedAttachments(view)
        self.volumes = GuardedVolumes(view)
        self.events = GuardedEvents(view)
        self.system = GuardedSystem(view)
        self.builds = GuardedBuilds(view)
        self._policy = policy

    def __getattr__(self, name: str) -> Any:
        """A part of the engine that came to be after this was written."""
        raise self._policy.refusal(f"what the engine calls {name}", "no rule is about it")


def guarded(engine: EngineApi, policy: Policy) -> EngineApi:
    # What the parts lack raises Refused: not a type's business.
    return cast(EngineApi, _GuardedEngine(engine, policy))
