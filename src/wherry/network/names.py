"""The text of a container's /etc/hosts, /etc/resolv.conf and /etc/hostname. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

import msgspec

from wherry.errors import InvalidArgument

HOST_RESOLV_CONF = "/etc/resolv.conf"
UPSTREAM_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
HOST_GATEWAY = "host-gateway"
PUBLIC_NAMESERVERS = ("8.8.8.8", "8.8.4.4")
_PUBLIC_NAMESERVERS_IPV6 = ("2001:4860:4860::8888", "2001:4860:4860::8844")

_HOSTS_IPV4 = "127.0.0.1\tlocalhost\n"
_HOSTS_IPV6 = (
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\n"
    "ff02::1\tip6-allnodes\n"
    "ff02::2\tip6-allrouters\n"
)


class ResolverSettings(msgspec.Struct, frozen=True):
    """What a resolv.conf says (resolv.conf(5)). None: not said."""

    nameservers: tuple[str, ...] | None = None
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None


_NOTHING_SAID = ResolverSettings()


class ResolvConf(msgspec.Struct, frozen=True):
    """A container's resolv.conf. ``public`` tells that the host has no nameserver that a
    container could reach, so that public ones are named: worth a warning."""

    text: str
    public: bool = False


def parse_resolv_conf(text: str) -> ResolverSettings:
    """Read a resolv.conf; what is not understood is skipped, as the resolver does."""
    nameservers: list[str] = []
    search: tuple[str, ...] | None = None
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            nameservers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return ResolverSettings(tuple(nameservers), search, tuple(options) or None)


def container_resolv_conf(
    host: str,
    *,
    upstream: str = "",
    asked: ResolverSettings = _NOTHING_SAID,
    ipv6: bool = False,
) -> ResolvConf:
    """The resolv.conf of a container with a network of its own.

    ``host`` is the text of the host's file and ``upstream`` that of systemd-resolved's
    (UPSTREAM_RESOLV_CONF), used if the first names loopback servers only, which a container
    cannot reach. ``asked`` is what ``--dns``, ``--dns-search`` and ``--dns-option`` gave; each
    replaces the host's. ``ipv6``: the container can reach IPv6 servers. Without any server
    Docker's public ones are taken, as Docker does. InvalidArgument for a ``--dns`` that is no
    address.
    """
    settings = parse_resolv_conf(host)
    servers, public = _nameservers(settings, upstream, asked, ipv6)
    search = asked.search if asked.search else settings.search or ()
    options = asked.options if asked.options else settings.options or ()
    lines = [f"nameserver {one}" for one in servers]
    if names := [name for name in search if name != "."]:
        lines.append("search " + " ".join(names))
    if options:
        lines.append("options " + " ".join(options))
    return ResolvConf("".join(f"{line}\n" for line in lines), public)


EMBEDDED_RESOLVER = "127.0.0.11"


def embedded_resolv_conf(host: str, asked: ResolverSettings = _NOTHING_SAID) -> str:
    """The resolv.conf of a container on a network with a resolver of its own.

    ``asked`` as for :func:`container_resolv_conf`; its servers are the resolver's business. Every
    name is asked for as it is first (``ndots:0``), since containers' names have no dots.
    """
    settings = parse_resolv_conf(host)
    search = asked.search if asked.search else settings.search or ()
    options = asked.options if asked.options else settings.options or ()
    if not any(one.startswith("ndots:") for one in options):
        options = (*options, "ndots:0")
    lines = [f"nameserver {EMBEDDED_RESOLVER}"]
    if names := [name for name in search if name != "."]:
        lines.append("search " + " ".join(names))
    lines.append("options " + " ".join(options))
    return "".join(f"{line}\n" for line in lines)


def checked_servers(servers: Iterable[str]) -> tuple[str, ...]:
    """The servers that ``--dns`` named; InvalidArgument for one that is no address."""
    return tuple(_checked(one) for one in servers)


def with_hosts(text: str, lines: Iterable[tuple[str, str]]) -> str:
    """The text of /etc/hosts with more lines (address, names) at its end."""
    start = text if not text or text.endswith("\n") else text + "\n"
    return start + "".join(f"{address}\t{names}\n" for address, names in lines)


def without_hosts(text: str, addresses: Iterable[str]) -> str:
    """The text of /etc/hosts without the lines of these addresses; all else stays as it is."""
    gone = {one for one in addresses if one}
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.split(None, 1)[:1] not in [[one] for one in gone])


def _nameservers(
    host: ResolverSettings, upstream: str, asked: ResolverSettings, ipv6: bool
) -> tuple[Sequence[str], bool]:
    if asked.nameservers:
        return [_checked(one) for one in asked.nameservers], False
    found = _reachable(host, ipv6) or _reachable(parse_resolv_conf(upstream), ipv6)
    if found:
        return found, False
    return (*PUBLIC_NAMESERVERS, *(_PUBLIC_NAMESERVERS_IPV6 if ipv6 else ())), True


def _checked(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(f"invalid DNS server {text!r}: want an IP address") from None


def _reachable(settings: ResolverSettings, ipv6: bool) -> list[str]:
    return [one for one in settings.nameservers or () if _is_reachable(one, ipv6)]


def _is_reachable(text: str, ipv6: bool) -> bool:
    """Loopback and link-local servers are those of the host's own interfaces."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 6 and (not ipv6 or address.is_link_local):
        return False
    return not address.is_loopback


def hosts_file(
    hostname: str,
    addresses: Iterable[str],
    *,
    domainname: str = "",
    extra: Iterable[str] = (),
    links: Iterable[tuple[str, str]] = (),
    host_gateway: str = "",
    ipv6: bool = True,
) -> str:
    """A container's /etc/hosts.

    ``addresses`` are the container's own. ``extra`` are ``NAME:ADDRESS`` or ``NAME=ADDRESS``, as
    ``--add-host`` takes them; the address ``host-gateway`` is ``host_gateway``. ``links`` are
    addresses of other containers and what they are called here. InvalidArgument.
    """
    lines = [_HOSTS_IPV4 + (_HOSTS_IPV6 if ipv6 else "")]
    lines += [f"{address}\t{name}\n" for name, address in _extra(extra, host_gateway)]
    lines += [f"{address}\t{names}\n" for address, names in links]
    names = own_names(hostname, domainname)
    lines += [f"{address}\t{names}\n" for address in addresses if address]
    return "".join(lines)


def own_names(hostname: str, domainname: str) -> str:
    """What a container's own line of /etc/hosts calls it."""
    return f"{hostname}.{domainname} {hostname}" if domainname else hostname


def check_extra_hosts(entries: Iterable[str]) -> None:
    """InvalidArgument for an entry that is not ``NAME:ADDRESS``."""
    for entry in entries:
        _split(entry)


def _extra(entries: Iterable[str], host_gateway: str) -> Iterable[tuple[str, str]]:
    for entry in entries:
        name, address = _split(entry)
        if address == HOST_GATEWAY:
            if not host_gateway:
                raise InvalidArgument(
                    f"invalid --add-host {entry}: there is no default bridge, thus no host-gateway"
                )
            address = host_gateway
        yield name, address


def _split(entry: str) -> tuple[str, str]:
    separator = "=" if "=" in entry else ":"
    name, found, address = entry.partition(separator)
    address = address.removeprefix("[").removesuffix("]")
    if not found or not name or name.split() != [name]:
        raise InvalidArgument(f"bad format for add-host: {entry!r}")
    if address != HOST_GATEWAY:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidArgument(
                f"invalid IP address in add-host: {address!r}: want NAME:ADDRESS"
            ) from None
    return name, address


def hostname_file(hostname: str) -> str:
    """A container's /etc/hostname."""
    return f"{hostname}\n"


def server_prefixes(
    settings: ResolverSettings,
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Each nameserver as a range of one address."""
    found = []
    for text in settings.nameservers or ():
        try:
            found.append(ipaddress.ip_network(text.partition("%")[0]))
        except ValueError:
            continue
    return found
