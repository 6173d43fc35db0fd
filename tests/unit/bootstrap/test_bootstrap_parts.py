"""Names, sources, mirrors, and what the tools' failures become."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wherry.bootstrap.bootstrapper import news
from wherry.bootstrap.distribution import _extras
from wherry.bootstrap.host import PackageHost, ProgramStream, last_words
from wherry.bootstrap.recipes import (
    SUITES,
    Busybox,
    Distribution,
    Python,
    plan,
    recipes,
)
from wherry.bootstrap.sources import (
    Mirror,
    Source,
    find_mirror,
    parse_deb822,
    parse_list,
    read_sources,
)
from wherry.bootstrap.trees import tar_of
from wherry.errors import InternalError, InvalidArgument, NotFound, NotSupported

BOOKWORM = next(suite for suite in SUITES if suite.codename == "bookworm")
NOBLE = next(suite for suite in SUITES if suite.codename == "noble")

# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codename", "slim"),
    [
        ("debian:bookworm-slim", "bookworm", True),
        ("debian:12", "bookworm", False),
        ("debian", "trixie", False),
        ("debian:stable-slim", "trixie", True),
        ("docker.io/library/debian:oldstable", "bookworm", False),
        ("ubuntu:24.04", "noble", True),
        ("ubuntu:jammy", "jammy", True),
    ],
)
def test_distributions(name: str, codename: str, slim: bool) -> None:
    made = plan(name)
    assert isinstance(made, Distribution)
    assert (made.suite.codename, made.slim) == (codename, slim)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("python:3.11-slim", "debian:bookworm-slim"),
        ("python:3.13-slim", "debian:trixie-slim"),
        ("python:3.11", "debian:bookworm"),
        ("python:3-slim", "debian:trixie-slim"),
        ("python:slim", "debian:trixie-slim"),
        ("python", "debian:trixie"),
        ("python:3.11-slim-bookworm", "debian:bookworm-slim"),
        ("python:slim-bookworm", "debian:bookworm-slim"),
        ("python:3-bookworm", "debian:bookworm"),
    ],
)
def test_python_stands_on_the_release_that_has_it(name: str, base: str) -> None:
    made = plan(name)
    assert isinstance(made, Python)
    assert made.base.reference.familiar == base


def test_every_listed_name_is_understood() -> None:
    listed = list(recipes())
    assert [r.name for r in listed if not plan(r.name)] == []
    assert isinstance(plan("busybox"), Busybox)
    assert {"busybox:latest", "debian:bookworm-slim", "ubuntu:22.04", "python:3.11-slim"} <= {
        recipe.name for recipe in listed
    }


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("python:3.12-slim", r"3.9 \(bullseye\), 3.11 \(bookworm\), 3.13 \(trixie\)"),
        ("python:3.11-slim-trixie", "one Python for each release"),
        ("debian:potato", "releases known of debian are bullseye, bookworm, trixie"),
        ("ubuntu:23.10", "releases known of ubuntu are jammy, noble"),
        ("busybox:musl", "the only tag is latest"),
        ("alpine", "a recipe for busybox, debian, python and ubuntu only"),
    ],
)
def test_what_there_is_no_recipe_for(name: str, sentence: str) -> None:
    with pytest.raises(NotFound, match=sentence):
        plan(name)


def test_other_registries_have_no_recipes() -> None:
    with pytest.raises(InvalidArgument, match=r"cannot bootstrap ghcr.io/x/debian"):
        plan("ghcr.io/x/debian")


# --- sources -----------------------------------------------------------------------------------

DEB822 = """# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
# another one
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
"""


def test_deb822() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source(
            "http://mirror.example/debian",
            ("bookworm", "bookworm-updates"),
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
        Source("http://mirror.example/debian-security/", ("bookworm-security",)),
    ]


def test_one_line_entries() -> None:
    text = """
# deb http://off.example/debian bookworm main
deb http://a.example/debian bookworm main contrib
  deb [ arch=amd64 signed-by=/k.gpg ] https://b.example/ubuntu noble main
deb-src http://a.example/debian bookworm main
"""
    assert list(parse_list(text)) == [
        Source("http://a.example/debian", ("bookworm",)),
        Source("https://b.example/ubuntu", ("noble",), "/k.gpg"),
    ]


def test_sources_are_read_in_apts_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://one/debian bookworm main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.sources").write_text("Types: deb\nURIs: http://three/debian\nSuites: bookworm\n")
    (parts / "a.list").write_text("deb http://two/debian bookworm main\n")
    (parts / "c.save").write_text("deb http://no/debian bookworm main\n")
    assert [s.uri for s in read_sources(tmp_path)] == [
        "http://one/debian",
        "http://two/debian",
        "http://three/debian",
    ]
    assert read_sources(tmp_path / "none") == ()


@pytest.fixture
def keyring(tmp_path: Path) -> str:
    path = tmp_path / "key.gpg"
    path.touch()
    return str(path)


def test_the_hosts_mirror_is_used_for_other_suites_too(keyring: str) -> None:
    sources = (
        Source("http://other.example/nodejs", ("nodistro",), keyring),
        Source("http://user:pw@mirror.example/debian/", ("trixie",), keyring),
        Source("http://mirror.example/debian-security", ("trixie-security",), keyring),
    )
    mirror = find_mirror(BOOKWORM, sources, "amd64")
    assert mirror.uri == "http://user:pw@mirror.example/debian"
    assert mirror.security_uri == "http://mirror.example/debian-security"
    assert mirror.public_uri == "http://mirror.example/debian"


def test_the_very_suite_wins(keyring: str) -> None:
    sources = (
        Source("http://old.example/debian", ("trixie",), keyring),
        Source("http://new.example/debian", ("bookworm", "bookworm-updates"), keyring),
    )
    mirror = find_mirror(BOOKWORM, sources, "amd64")
    assert mirror.uri == "http://new.example/debian"
    assert mirror.security_uri == "http://new.example/debian-security"


def test_another_distribution_comes_from_its_public_mirror(
    keyring: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.bootstrap.sources._KEYRINGS", {"ubuntu": keyring})
    sources = (Source("http://mirror.example/debian", ("bookworm",), keyring),)
    assert find_mirror(NOBLE, sources, "amd64").uri == "http://archive.ubuntu.com/ubuntu"
    assert find_mirror(NOBLE, sources, "arm64").uri == "http://ports.ubuntu.com/ubuntu-ports"
    monkeypatch.setattr("wherry.bootstrap.sources._KEYRINGS", {"ubuntu": "/nonexistent"})
    with pytest.raises(NotSupported, match="apt-get install ubuntu-keyring"):
        find_mirror(NOBLE, sources, "amd64")


def test_an_image_holds_no_credentials() -> None:
    mirror = Mirror("https://me:secret@m.example/debian", "https://me:secret@m.example/sec", "/k")
    recipe = plan("debian:bookworm-slim")
    assert isinstance(recipe, Distribution)
    archive = tar_of(_extras(recipe, mirror), 0)
    assert b"m.example/debian bookworm main" in archive
    assert b"secret" not in archive
    assert "secret" in " ".join(mirror.entries(BOOKWORM))


def test_local_mirrors_are_made_visible() -> None:
    mirror = Mirror("file:/srv/debian", "copy:/srv/security", "/k")
    assert mirror.local_directories == ("/srv/debian", "/srv/security")
    assert Mirror("http://a/debian", "http://a/s", "/k").local_directories == ()


# --- tools -------------------------------------------------------------------------------------


def stream(script: str, lines: list[str]) -> ProgramStream:
    return ProgramStream([sys.executable, "-c", script], {}, lines.append)


def test_stream_of_a_program() -> None:
    lines: list[str] = []
    with stream("import sys; print('out'); print('note', file=sys.stderr)", lines) as running:
        assert running.read() == b"out\n"
        assert running.read(10) == b""
    assert lines == ["note"]


def test_stream_that_ends_by_a_failure_has_no_end() -> None:
    script = "import sys; print('half'); print('E: no such suite', file=sys.stderr); sys.exit(3)"
    with stream(script, []) as running:
        assert running.read(5) == b"half\n"
        with pytest.raises(InternalError, match="failed: no such suite"):
            running.read(5)


def test_leaving_a_stream_ends_its_program() -> None:
    with stream("import time; print('x', flush=True); time.sleep(600)", []) as running:
        assert running.read(2) == b"x\n"
        process = running._process
    assert process.returncode == -15


def test_last_words() -> None:
    output = "Get:1 x\nE: Failed to fetch http://me:pw@m/debian 404\nE: Download Failed\n\nbye\n"
    assert last_words(output) == "Failed to fetch http://m/debian 404"
    assert last_words("a\nb\n") == "b"
    assert last_words("") == "it printed nothing"


def test_only_news_of_a_tool_is_passed_on() -> None:
    told: list[str] = []
    tell = news(told.append)
    for line in (
        "I: installing essential packages...",
        "I: running --setup-hook directly: /x",
        "I: using /tmp/x as tempdir",
        "removed '/lib32'",
        "Setting up libc6 (2.36) ...",
        "E: Unable to locate package",
    ):
        tell(line)
    assert [line[:5] for line in told] == ["I: in", "Setti", "E: Un"]


def test_missing_tool_names_its_package() -> None:
    with pytest.raises(NotSupported, match="apt-get install mmdebstrap"):
        PackageHost({}).require("no-such-program", "mmdebstrap")


def test_only_proxies_are_taken_from_the_environment() -> None:
    host = PackageHost({"HTTP_PROXY": "http://p:1", "no_proxy": "x", "SECRET": "y"}, "/tmp")
    environment = host.program_environment(MORE="1")
    assert environment["http_proxy"] == "http://p:1"
    assert (environment["no_proxy"], environment["TMPDIR"]) == ("x", "/tmp")
    assert environment["MORE"] == "1"
    assert "SECRET" not in environment


def test_apts_own_proxies_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "apt-config"
    program.write_text("#!/bin/sh\n[ $1 = shell ] && printf \"$2='http://p:1'\\n$4='DIRECT'\\n\"\n")
    program.chmod(0o755)
    environment = {"http_proxy": "http://q:1", "https_proxy": "http://q:2"}
    monkeypatch.setattr("wherry.bootstrap.host._PATH", f"{tmp_path}:/bin")
    proxies = PackageHost(environment).proxies()
    assert proxies == {"http_proxy": "http://p:1", "https_proxy": "http://q:2"}
    monkeypatch.setattr("wherry.bootstrap.host._PATH", "/nowhere")
    assert PackageHost(environment).proxies() == environment
