"""Letting our packets pass the rules of others, if the engine is told to.

A packet must be accepted by every table; another one's drop is final, whatever ours says and
whatever its priority. dockerd sets the policy of iptables' FORWARD chain to DROP. Where that
chain is kept in nf_tables (iptables-nft, the default since Debian 10), one rule for each direction
of each of our bridges is put at its head, in the form iptables itself would give it; our own
table goes on deciding what passes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from wherry.sys.netlink import nftables as nft
from wherry.sys.netlink.wire import Message

_TABLE, _CHAIN = "filter", "FORWARD"
_FAMILIES = (nft.IPV4, nft.IPV6)


class ForeignRules:
    """Our rules in iptables' FORWARD chains. Methods raise NetlinkError."""

    def __init__(self, owner: str, accept: bool) -> None:
        """``owner`` marks our rules: a comment that begins with it. Without ``accept`` there are
        none, and those of an engine that was set otherwise go."""
        self._owner = owner
        self._accept = accept
        self._nft = nft.NftConnection()
        self._lock = threading.Lock()

    def sync(self, bridges: Iterable[str]) -> bool:
        """Where the policy is DROP, accept what goes through these bridges; nothing elsewhere.
        Whether packets are dropped, since they are not to be accepted."""
        wanted = list(bridges)
        with self._lock:
            return self._sync(wanted)

    def _sync(self, wanted: list[str]) -> bool:
        policies = {one: self._nft.chain_policy(one, _TABLE, _CHAIN) for one in _FAMILIES}
        for family, policy in policies.items():
            if policy is not None:
                drops = policy == nft.DROP and self._accept
                self._sync_chain(family, wanted if drops else [])
        return policies[nft.IPV4] == nft.DROP and not self._accept

    def _sync_chain(self, family: int, bridges: list[str]) -> None:
        present = {
            rule.comment: rule.handle
            for rule in self._nft.rules(family, _TABLE, _CHAIN)
            if rule.comment.startswith(self._owner + " ")
        }
        wanted = {
            f"{self._owner} {direction} {bridge}": (direction, bridge)
            for bridge in bridges
            for direction in ("from", "to")
        }
        changes = [
            nft.delete_rule(_TABLE, _CHAIN, handle, family)
            for comment, handle in present.items()
            if comment not in wanted
        ]
        changes += [
            _accept(family, direction, bridge, comment)
            for comment, (direction, bridge) in wanted.items()
            if comment not in present
        ]
        if changes:
            self._nft.transact(changes)

    def close(self) -> None:
        self._nft.close()


def _accept(family: int, direction: str, bridge: str, comment: str) -> Message:
    load = nft.load_input_interface() if direction == "from" else nft.load_output_interface()
    return nft.add_rule(
        _TABLE,
        _CHAIN,
        load,
        nft.compare(nft.interface_key(bridge)),
        nft.counter(),
        nft.verdict(nft.ACCEPT),
        family=family,
        comment=comment,
        first=True,
    )
