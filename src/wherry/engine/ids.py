"""Identifiers and made-up names."""

from __future__ import annotations

import secrets
from collections.abc import Callable

_ADJECTIVES = (
    "able amber ample brave breezy bright brisk calm candid clever coastal cosy crisp daring deft "
    "dusky eager early fair fleet fond frank fresh gentle glad golden happy hardy hearty honest "
    "jolly keen kind level lively lucid mellow merry mild misty modest neat nimble noble open "
    "patient plucky polite proud quick quiet ready rosy salty serene sharp silver snug sober "
    "spry stable steady still stout sunny sure swift tidy trim true upbeat vivid warm wise witty"
).split()
_NOUNS = (
    "anchor barge beacon berth boat boom bosun bow breeze brig buoy cabin canal canoe captain "
    "cargo catboat channel clipper coble compass coracle cove current cutter deck dhow dinghy "
    "dock dory ferry float fjord galley gull halyard harbour haven heron hull inlet islet jetty "
    "keel kelp ketch lagoon lantern lighter lock lugger mast mooring oar otter pier pilot pinnace "
    "porter punt quay raft reef rigging rudder sail schooner scow shoal shore skiff sloop sound "
    "spar strait swell tender tide tiller tug wharf yawl"
).split()


def new_id() -> str:
    """64 random hex digits that cannot be read as a decimal number in their short form.

    The first twelve digits become a hostname, and one of digits only confuses programs.
    """
    while True:
        candidate = secrets.token_hex(32)
        if not candidate[:12].isdigit():
            return candidate


def new_name(taken: Callable[[str], bool]) -> str:
    """A readable name that is not ``taken``, such as ``brisk_ferry``."""
    for attempt in range(16):
        name = f"{secrets.choice(_ADJECTIVES)}_{secrets.choice(_NOUNS)}"
        if attempt >= 8:
            name += str(secrets.randbelow(1000))
        if not taken(name):
            return name
    return f"container_{secrets.token_hex(6)}"
