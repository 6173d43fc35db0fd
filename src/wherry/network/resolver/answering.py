"""What is answered here, and what is asked elsewhere. Pure."""

from __future__ import annotations

import ipaddress

from wherry.network.resolver import message as dns
from wherry.network.resolver.protocol import Member, View
from wherry.network.resolver.table import NameTable


def own_answer(
    table: NameTable, view: View, packet: bytes, question: dns.Question, limit: int
) -> bytes | None:
    """The answer about a container of the view's networks, ``limit`` bytes at most; None if the
    question is about something else."""
    if not question.is_plain:
        return dns.failure(packet, question, dns.NOT_IMPLEMENTED)
    if question.family != dns.INTERNET:
        return None
    if question.kind == dns.PTR:
        return _pointers(table, view, packet, question, limit)
    members = table.find(view, question.name) if question.name else []
    if not members:
        return None
    # A name of ours is nobody else's: without such an address the answer is empty.
    found = [one for member in _rotated(members, question) for one in _addresses(member)]
    asked = [one for one in found if question.kind in (dns.ANY, _KIND[one.version])]
    return dns.addresses(packet, question, asked, limit)


_KIND = {4: dns.A, 6: dns.AAAA}


def _rotated(members: list[Member], question: dns.Question) -> list[Member]:
    """Another one first each time, for those that take the first; the identity is random."""
    start = question.identity % len(members)
    return members[start:] + members[:start]


def _addresses(member: Member) -> list[dns.Address]:
    return [ipaddress.ip_address(one) for one in (member.ipv4, member.ipv6) if one]


def _pointers(
    table: NameTable, view: View, packet: bytes, question: dns.Question, limit: int
) -> bytes | None:
    address = dns.pointed_address(question.name)
    name = table.name_of(view, address) if address else ""
    if not name:
        return None
    try:
        return dns.pointers(packet, question, [name], limit)
    except ValueError:  # a container's name may be longer than a name in messages
        return dns.pointers(packet, question, [], limit)
