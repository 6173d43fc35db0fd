"""From method and path to a route and its handler.

Every path of the API has at most one parameter. So a route is a text before it and a text after
it, and routes are found by the first part of the path, longest ending first.
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.api.context import Route

_Pattern = tuple[str, str, bool, Route]  # before, after, may hold slashes


class Router:
    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: dict[tuple[str, str], list[_Pattern]] = {}
        for route in routes:
            self._add(route)
        for patterns in self._patterns.values():
            patterns.sort(key=lambda p: len(p[1]), reverse=True)

    def _add(self, route: Route) -> None:
        before, star, after = route.path.partition("*")
        if not star:
            self._exact[route.method, route.path] = route
            return
        key = (route.method, _first(route.path))
        pattern = (before, after.removeprefix("*"), after.startswith("*"), route)
        self._patterns.setdefault(key, []).append(pattern)

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """The route and the path's parameter. GET handlers serve HEAD where it has no own."""
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, ""
        for before, after, slashes, candidate in self._patterns.get((method, _first(path)), ()):
            if len(path) > len(before) + len(after) and path.endswith(after):
                parameter = path[len(before) : len(path) - len(after)]
                if path.startswith(before) and (slashes or "/" not in parameter):
                    return candidate, parameter
        return self.find("GET", path) if method == "HEAD" else None


def _first(path: str) -> str:
    return path[1:].partition("/")[0]
