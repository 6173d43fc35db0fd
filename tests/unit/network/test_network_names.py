"""/etc/hosts, /etc/resolv.conf and /etc/hostname."""

from __future__ import annotations

import pytest

from wherry.errors import InvalidArgument
from wherry.network import names
from wherry.network.names import (
    ResolverSettings,
    checked_servers,
    embedded_resolv_conf,
    with_hosts,
    without_hosts,
)

HOST = """\
# made by something
nameserver 192.0.2.53
nameserver 127.0.0.53
nameserver 2001:db8::53
nameserver fe80::1%eth0
search example.org lan
options edns0 ndots:2
options timeout:1
"""


def test_the_hosts_reachable_servers_are_taken() -> None:
    made = names.container_resolv_conf(HOST)
    assert made.text == (
        "nameserver 192.0.2.53\nsearch example.org lan\noptions edns0 ndots:2 timeout:1\n"
    )
    assert not made.public


def test_ipv6_servers_for_containers_with_ipv6() -> None:
    text = names.container_resolv_conf(HOST, ipv6=True).text
    assert text.startswith("nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch")


def test_the_servers_behind_a_local_stub() -> None:
    upstream = "nameserver 192.0.2.1\nsearch ignored\n"
    made = names.container_resolv_conf("nameserver 127.0.0.53\n", upstream=upstream)
    assert made == names.ResolvConf("nameserver 192.0.2.1\n")


@pytest.mark.parametrize("host", ["", "nameserver 127.0.0.1\nnameserver ::1\n"])
def test_public_servers_only_if_there_are_no_others(host: str) -> None:
    made = names.container_resolv_conf(host)
    assert made == names.ResolvConf("nameserver 8.8.8.8\nnameserver 8.8.4.4\n", public=True)


def test_what_was_asked_for_replaces_the_hosts() -> None:
    asked = ResolverSettings(("9.9.9.9", "127.0.0.1"), ("corp",), ("ndots:0",))
    made = names.container_resolv_conf(HOST, asked=asked)
    assert made.text == "nameserver 9.9.9.9\nnameserver 127.0.0.1\nsearch corp\noptions ndots:0\n"
    made = names.container_resolv_conf(HOST, asked=ResolverSettings(search=(".",)))
    assert "search" not in made.text
    with pytest.raises(InvalidArgument, match="invalid DNS server 'x'"):
        names.container_resolv_conf(HOST, asked=ResolverSettings(("x",)))


def test_the_last_search_wins_and_noise_is_skipped() -> None:
    found = names.parse_resolv_conf("domain a\nsearch b c\nnameserver\nwhat is this\n;x\n")
    assert found == ResolverSettings((), ("b", "c"), None)


def test_hosts() -> None:
    text = names.hosts_file(
        "web",
        ["172.17.0.2", "", "fd00::2"],
        domainname="example.org",
        extra=["db:10.0.0.1", "v6=::1", "v6b:fd00::5", "host.docker.internal:host-gateway"],
        host_gateway="172.17.0.1",
    )
    assert text.splitlines()[0] == "127.0.0.1\tlocalhost"
    assert text.splitlines()[6:] == [
        "10.0.0.1\tdb",
        "::1\tv6",
        "fd00::5\tv6b",
        "172.17.0.1\thost.docker.internal",
        "172.17.0.2\tweb.example.org web",
        "fd00::2\tweb.example.org web",
    ]
    assert "::1" not in names.hosts_file("web", [], ipv6=False)
    assert names.hostname_file("web") == "web\n"


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("db", "bad format for add-host: 'db'"),
        (":10.0.0.1", "bad format"),
        ("a b:10.0.0.1", "bad format"),
        ("a\nb:10.0.0.1", "bad format"),
        ("db:10.0.0.256", "invalid IP address in add-host: '10.0.0.256'"),
        ("db:host-gateway", "no default bridge"),
    ],
)
def test_bad_entries(entry: str, sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        names.hosts_file("web", [], extra=[entry])


def test_nameservers_as_ranges() -> None:
    found = names.server_prefixes(names.parse_resolv_conf(HOST))
    assert [str(one) for one in found] == [
        "192.0.2.53/32",
        "127.0.0.53/32",
        "2001:db8::53/128",
        "fe80::1/128",
    ]


def test_the_embedded_resolver_is_asked_for_every_name_as_it_is() -> None:
    host = "nameserver 10.0.0.1\nsearch a.example b.example\noptions edns0\n"
    assert embedded_resolv_conf(host) == (
        "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 ndots:0\n"
    )
    asked = ResolverSettings(("10.9.9.9",), (".",), ("ndots:3",))
    assert embedded_resolv_conf(host, asked) == "nameserver 127.0.0.11\noptions ndots:3\n"


def test_lines_of_hosts_come_and_go_and_all_else_stays() -> None:
    text = "127.0.0.1\tlocalhost\n# mine\n\n10.0.0.22 other\n10.0.0.2\tweb"
    more = with_hosts(text, [("fd00::2", "web")])
    assert more == text + "\nfd00::2\tweb\n"
    rest = without_hosts(more, ("10.0.0.2", "", "fd00::2"))
    assert rest == "127.0.0.1\tlocalhost\n# mine\n\n10.0.0.22 other\n"


def test_servers_are_addresses() -> None:
    assert checked_servers(["10.0.0.1", "FD00::1"]) == ("10.0.0.1", "fd00::1")
    with pytest.raises(InvalidArgument, match="invalid DNS server"):
        checked_servers(["ns.example"])
