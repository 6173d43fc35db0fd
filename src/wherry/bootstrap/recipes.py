"""What can be made, by the names that registries use for the same things. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wherry.errors import InvalidArgument, NotFound
from wherry.model.reference import DEFAULT_DOMAIN, DEFAULT_TAG, Reference, parse_reference

_SLIM = "slim"


@dataclass(frozen=True)
class Suite:
    """A release of a distribution. ``python`` is the version of its package ``python3``."""

    distribution: str
    codename: str
    version: str
    python: str


SUITES = (
    Suite("debian", "bullseye", "11", "3.9"),
    Suite("debian", "bookworm", "12", "3.11"),
    Suite("debian", "trixie", "13", "3.13"),
    Suite("ubuntu", "jammy", "22.04", "3.10"),
    Suite("ubuntu", "noble", "24.04", "3.12"),
)
_NEWEST = {"debian": "trixie", "ubuntu": "noble"}
_MOVING = {"debian": {"latest": "trixie", "stable": "trixie", "oldstable": "bookworm"}}
_PYTHON_DEFAULT = "trixie"


@dataclass(frozen=True)
class Recipe:
    """One image: its familiar name and one line about it."""

    name: str
    description: str


@dataclass(frozen=True)
class Busybox:
    """The distribution's static busybox and nothing else."""

    reference: Reference


@dataclass(frozen=True)
class Distribution:
    """A minimal system with its package manager. ``slim``: without manuals and translations."""

    reference: Reference
    suite: Suite
    slim: bool


@dataclass(frozen=True)
class Python:
    """Python and pip on top of a distribution's image; with a compiler if not ``slim``."""

    reference: Reference
    base: Distribution


Plan = Busybox | Distribution | Python


def recipes() -> Iterator[Recipe]:
    """What is worth listing; more tags are understood."""
    yield Recipe("busybox:latest", "one static program with all the usual commands, 2 MB")
    for suite in SUITES:
        if suite.distribution == "debian":
            yield Recipe(f"debian:{suite.codename}-slim", f"Debian {suite.version}, minimal")
            yield Recipe(f"debian:{suite.codename}", f"Debian {suite.version}, with manuals")
        else:
            yield Recipe(f"ubuntu:{suite.version}", f"Ubuntu {suite.version} ({suite.codename})")
    for suite in _python_suites():
        base = f"debian:{suite.codename}-slim"
        yield Recipe(f"python:{suite.python}-slim", f"Python {suite.python} and pip on {base}")


def plan(name: str) -> Plan:
    """What an image's name asks for. NotFound names what there is; InvalidArgument."""
    reference = parse_reference(name)
    if reference.domain != DEFAULT_DOMAIN or reference.digest:
        raise InvalidArgument(f"cannot bootstrap {name}: want one of {_names()}")
    reference = reference.tagged()
    repository = reference.familiar_repository
    tag = reference.tag or DEFAULT_TAG
    if repository == "busybox":
        return _busybox(reference, tag)
    if repository in _NEWEST:
        return _distribution(reference, repository, tag)
    if repository == "python":
        return _python(reference, tag)
    raise NotFound(f"cannot bootstrap {name}: there is a recipe for {_names()} only")


def _names() -> str:
    return "busybox, debian, python and ubuntu"


def _busybox(reference: Reference, tag: str) -> Busybox:
    if tag not in (DEFAULT_TAG, "stable"):
        raise NotFound(f"cannot bootstrap busybox:{tag}: the only tag is {DEFAULT_TAG}")
    return Busybox(reference)


def _distribution(reference: Reference, name: str, tag: str) -> Distribution:
    base, slim = _without_slim(tag)
    suite = _suite(name, base or DEFAULT_TAG)
    if suite is None:
        known = ", ".join(s.codename for s in SUITES if s.distribution == name)
        raise NotFound(f"cannot bootstrap {name}:{tag}: the releases known of {name} are {known}")
    return Distribution(reference, suite, slim or name == "ubuntu")


def _without_slim(tag: str) -> tuple[str, bool]:
    parts = tag.split("-")
    return "-".join(part for part in parts if part != _SLIM), _SLIM in parts


def _suite(distribution: str, name: str) -> Suite | None:
    name = _MOVING.get(distribution, {}).get(name, name)
    if name == DEFAULT_TAG:
        name = _NEWEST[distribution]
    for suite in SUITES:
        if suite.distribution == distribution and name in (suite.codename, suite.version):
            return suite
    return None


def _python_suites() -> list[Suite]:
    return [suite for suite in SUITES if suite.distribution == "debian"]


def _python(reference: Reference, tag: str) -> Python:
    rest, slim = _without_slim(tag)
    version, _, codename = rest.partition("-")
    fits = [
        suite for suite in _python_suites() if _is_version(suite, version or DEFAULT_TAG, codename)
    ]
    if not fits:
        known = ", ".join(f"{s.python} ({s.codename})" for s in _python_suites())
        raise NotFound(
            f"cannot bootstrap python:{tag}: the mirror has one Python for each release, which is "
            f"{known}"
        )
    suite = fits[-1]
    base_tag = suite.codename + ("-slim" if slim else "")
    base = Distribution(parse_reference(f"debian:{base_tag}"), suite, slim)
    return Python(reference, base)


def _is_version(suite: Suite, version: str, codename: str) -> bool:
    """``3.11``, ``3``, ``latest`` or the codename alone (``bookworm``)."""
    if codename and codename != suite.codename:
        return False
    if version in (DEFAULT_TAG, "3"):
        return bool(codename) or suite.codename == _PYTHON_DEFAULT
    return version in (suite.python, suite.codename)
