"""Paths that lead nowhere, and the routes that were most likely meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 100  # characters of a path that is looked at: comparing takes their square
ALIKE = 0.8  # of 1; "/v1/chat/completion" and "/v1/chat/completions" are 0.97
_SLASHES = re.compile("//+")


class Routes:
    """Knows the routes, and finds the one that stands behind a path that is spelled a bit wrong.

    Args:
        paths: of the routes; those with parameters, or a slash at the end, are left out.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        known = sorted({path for path in paths if "{" not in path and path[-1] != "/"})
        self._known = known
        # By what is left without the version; the longest first, as one may be the end of another.
        tails = [(path.removeprefix("/v1"), path) for path in known]
        self._tails = sorted(tails, key=lambda pair: -len(pair[0]))

    def nearest(self, path: str) -> str | None:
        """The route that was meant; None: none is near.

        Most are told by likeness; where much stands before one (``/openai/deployments/NAME``), its
        end tells it.
        """
        if len(path) > LONGEST:
            return None
        path = _SLASHES.sub("/", path).rstrip("/").lower()
        if alike := get_close_matches(path, self._known, 1, ALIKE):
            return alike[0]
        return next((route for tail, route in self._tails if path.endswith(tail)), None)
