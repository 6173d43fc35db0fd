"""What the engine and the resolver say to each other (docs/protocols/resolver.md).

One JSON object in each packet of a sequenced-packet unix socket; each of the engine's is answered
by one :class:`Answer`. Descriptors travel beside their packet.
"""

from __future__ import annotations

import msgspec

PACKET_LIMIT = 128 * 1024
"""Bytes; a socket's buffer holds one such packet on every Linux."""
SOCKET_NAME = "resolver.sock"


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A container on a network, and what it is called there, its own name first."""

    network_id: str
    network_name: str
    container_id: str
    names: tuple[str, ...]
    ipv4: str = ""
    ipv6: str = ""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What one container sees: its networks in the order they are asked."""

    container_id: str
    networks: tuple[str, ...]  # ids
    links: dict[str, dict[str, str]] = {}
    """By network: other names for containers, known to this container only."""
    servers: tuple[str, ...] = ()
    """Where unknown names are asked for; empty: where the host asks."""
    forward: bool = True
    """False for a container whose networks are all internal: nothing of it gets out."""


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """All members and views follow, until :class:`End`; what is not among them is gone then."""


class End(msgspec.Struct, frozen=True, tag="end"):
    pass


class Announce(msgspec.Struct, frozen=True, tag="announce"):
    """A member is new, or has changed."""

    member: Member


class Withdraw(msgspec.Struct, frozen=True, tag="withdraw"):
    network_id: str
    container_id: str


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """A container's view is new, or has changed. With two descriptors: the sockets to answer it
    by, UDP and TCP. ``held`` of the answer tells whether the resolver has such sockets."""

    view: View


class Target(msgspec.Struct, frozen=True):
    """Where a published port leads: an address and a port of a container."""

    address: str
    port: int


class Listen(msgspec.Struct, frozen=True, tag="listen"):
    """Lead what comes to a published port to a container. With one descriptor: its socket, bound
    and, of TCP, listening. ``held`` of the answer tells whether the resolver has such a socket."""

    container_id: str
    name: str
    target: Target


class Unlisten(msgspec.Struct, frozen=True, tag="unlisten"):
    """Close the socket of a published port, and its connections."""

    container_id: str
    name: str


class Follow(msgspec.Struct, frozen=True, tag="follow"):
    """Comes with a pidfd: without an engine, the container is forgotten when this process ends."""

    container_id: str


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Close the sockets by which a container is answered; those of its ports stay."""

    container_id: str


Request = Begin | End | Announce | Withdraw | Serve | Listen | Unlisten | Follow | Forget


class Answer(msgspec.Struct, frozen=True):
    held: bool = True


encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_answer = msgspec.json.Decoder(Answer).decode
