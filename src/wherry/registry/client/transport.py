"""Connections: pools by host, trust and proxy. One attempt, no redirects, no credentials."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import urllib3
from urllib3.util import Timeout, parse_url

from wherry.registry.client.hosts import Hosts

Body = bytes | BinaryIO | None


class Transport:
    """Sends requests. Shared by threads; :meth:`close` drops the idle connections."""

    def __init__(self, hosts: Hosts, user_agent: str) -> None:
        self._hosts = hosts
        self._user_agent = user_agent
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, *, verify: bool
    ) -> urllib3.BaseHTTPResponse:
        """One request; the answer's body is not read yet. Raises what urllib3 raises."""
        pool = self._pool(url, verify)
        return pool.request(
            method,
            url,
            body=body,
            headers={"User-Agent": self._user_agent, **headers},
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def _pool(self, url: str, verify: bool) -> urllib3.PoolManager:
        parsed = parse_url(url)
        key = (f"{parsed.scheme}://{parsed.netloc}", verify)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pool(parsed.scheme or "", parsed.netloc or "", verify)
            return self._pools[key]

    def _new_pool(self, scheme: str, host: str, verify: bool) -> urllib3.PoolManager:
        settings = self._hosts.settings
        timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
        context = self._context(host, verify)
        proxy = settings.https_proxy if scheme == "https" else settings.http_proxy
        if proxy and not bypasses_proxy(host, settings.no_proxy):
            return _proxy_pool(proxy, timeout, context)
        return urllib3.PoolManager(timeout=timeout, ssl_context=context, maxsize=4)

    def _context(self, host: str, verify: bool) -> ssl.SSLContext:
        context = self._verifying(host) if verify else _trusting()
        if certificate := self._hosts.client_certificate(host):
            context.load_cert_chain(*certificate)
        return context

    def _verifying(self, host: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._hosts.settings.ca_bundle or None)
        for path in self._hosts.authorities(host):
            context.load_verify_locations(path)
        return context


def _trusting() -> ssl.SSLContext:
    """Accepts any certificate; loads no authorities, which takes long."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _proxy_pool(proxy: str, timeout: Timeout, context: ssl.SSLContext) -> urllib3.PoolManager:
    url = proxy if "://" in proxy else f"http://{proxy}"
    auth = parse_url(url).auth
    headers = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
    return urllib3.ProxyManager(
        url, proxy_headers=headers, timeout=timeout, ssl_context=context, maxsize=4
    )


def bypasses_proxy(netloc: str, no_proxy: str) -> bool:
    """Whether a host is reached directly, by the usual reading of ``NO_PROXY``.

    Entries are ``*``, hosts, ``.domain`` or ``domain`` (with all below), addresses, networks in
    CIDR form, each but the last two with an optional port. The loopback never goes to a proxy.
    """
    parsed = parse_url(f"//{netloc}")
    host = (parsed.host or "").strip("[]").lower()
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return _names_host(entries, host, parsed.port) or _holds_address(entries, address)


def _names_host(entries: Iterable[str], host: str, port: int | None) -> bool:
    for entry in filter(None, entries):
        name, _, entry_port = entry.partition(":")
        if entry_port and entry_port != str(port):
            continue
        bare = name.removeprefix("*").removeprefix(".")
        if entry == "*" or host == bare or (bare and host.endswith(f".{bare}")):
            return True
    return False


def _holds_address(
    entries: Iterable[str], address: ipaddress.IPv4Address | ipaddress.IPv6Address | None
) -> bool:
    for entry in filter(None, entries):
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            continue
        if address is not None and address in network:
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
