"""Networks and volumes: ``client.networks`` and ``client.volumes``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wherry.client.answers import NO_FILTERS, Answer, Created, Filters, Network, Pruned, Volume, ask
from wherry.client.session import Session, quote


class _Volumes(Answer, frozen=True, kw_only=True):
    volumes: tuple[Volume, ...] = ()


class Networks:
    """All networks of an engine; a name is a name, an id or a prefix of one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[Network, ...]:
        query = {"filters": dict(filters) or None}
        return ask(self._session, tuple[Network, ...], "GET", "/networks", query)

    def inspect(self, name: str) -> Network:
        return ask(self._session, Network, "GET", f"/networks/{quote(name)}")

    def create(
        self,
        name: str,
        *,
        driver: str = "bridge",
        subnet: str = "",
        gateway: str = "",
        internal: bool = False,
        labels: Mapping[str, str] = {},
        options: Mapping[str, str] = {},
    ) -> Network:
        """``subnet`` in CIDR notation; the engine chooses one if it is empty."""
        pool = {"Subnet": subnet, "Gateway": gateway}
        body = {
            "Name": name,
            "Driver": driver,
            "Internal": internal,
            "Labels": dict(labels),
            "Options": dict(options),
            "IPAM": {"Config": [{k: v for k, v in pool.items() if v}] if subnet else []},
        }
        made = ask(self._session, Created, "POST", "/networks/create", json=body)
        return self.inspect(made.id)

    def connect(self, name: str, container: str, *, aliases: Sequence[str] = ()) -> None:
        body = {"Container": container, "EndpointConfig": {"Aliases": list(aliases)}}
        self._session.post(f"/networks/{quote(name)}/connect", json=body)

    def disconnect(self, name: str, container: str, *, force: bool = False) -> None:
        body = {"Container": container, "Force": force}
        self._session.post(f"/networks/{quote(name)}/disconnect", json=body)

    def remove(self, name: str) -> None:
        self._session.delete(f"/networks/{quote(name)}")

    def prune(self, *, filters: Filters = NO_FILTERS) -> Pruned:
        query = {"filters": dict(filters) or None}
        return ask(self._session, Pruned, "POST", "/networks/prune", query)


class Volumes:
    """All volumes of an engine."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def list(self, *, filters: Filters = NO_FILTERS) -> tuple[Volume, ...]:
        query = {"filters": dict(filters) or None}
        return ask(self._session, _Volumes, "GET", "/volumes", query).volumes

    def inspect(self, name: str) -> Volume:
        return ask(self._session, Volume, "GET", f"/volumes/{quote(name)}")

    def create(self, name: str = "", *, labels: Mapping[str, str] = {}) -> Volume:
        """Without a name it gets a random one."""
        body = {"Name": name, "Labels": dict(labels)}
        return ask(self._session, Volume, "POST", "/volumes/create", json=body)

    def remove(self, name: str, *, force: bool = False) -> None:
        self._session.delete(f"/volumes/{quote(name)}", {"force": force})

    def prune(self, *, filters: Filters = NO_FILTERS) -> Pruned:
        query = {"filters": dict(filters) or None}
        return ask(self._session, Pruned, "POST", "/volumes/prune", query)
