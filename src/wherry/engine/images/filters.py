"""Which images a list or a prune means."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Sequence

from wherry.engine.api import Filters
from wherry.engine.filters import as_bool, as_time, check_names, labels_match
from wherry.engine.images.times import listed_ns
from wherry.model.reference import parse_reference
from wherry.store.api import Image

Test = Callable[[Image], bool]

_BOTH = ("dangling", "label", "label!", "until")
_LIST = (*_BOTH, "before", "since", "reference")


def list_tests(filters: Filters, get: Callable[[str], Image]) -> list[Test]:
    """All must hold. ``get`` finds the images that others are compared with. InvalidArgument,
    NotFound."""
    check_names(filters, _LIST)
    tests = _common(filters)
    if filters.get("dangling"):
        nameless = as_bool("dangling", filters["dangling"])
        tests.append(lambda image: nameless != bool(image.references))
    before = [listed_ns(get(name)) for name in filters.get("before", ())]
    since = [listed_ns(get(name)) for name in filters.get("since", ())]
    tests.append(lambda image: all(listed_ns(image) < moment for moment in before))
    tests.append(lambda image: all(listed_ns(image) > moment for moment in since))
    patterns = filters.get("reference", ())
    if patterns:
        tests.append(lambda image: _named(image, patterns))
    return tests


def prune_tests(filters: Filters) -> list[Test]:
    """All must hold. Nameless images are meant, or with ``dangling=false`` all. InvalidArgument."""
    check_names(filters, _BOTH)
    tests = _common(filters)
    if as_bool("dangling", filters.get("dangling", ("true",))):
        tests.append(lambda image: not image.references)
    return tests


def _common(filters: Filters) -> list[Test]:
    now = time.time_ns()
    wanted, unwanted = filters.get("label", ()), filters.get("label!", ())
    limits = [as_time(text, now) for text in filters.get("until", ())]

    def fits(image: Image) -> bool:
        labels = image.config.config.labels
        kept = bool(unwanted) and labels_match(unwanted, labels)
        old = all(listed_ns(image) < limit for limit in limits)
        return labels_match(wanted, labels) and not kept and old

    return [fits]


def _named(image: Image, patterns: Sequence[str]) -> bool:
    for text in image.references:
        reference = parse_reference(text)
        for candidate in (reference.familiar, reference.familiar_repository):
            if any(fnmatch.fnmatchcase(candidate, pattern) for pattern in patterns):
                return True
    return False
