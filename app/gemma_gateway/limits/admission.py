"""What a limit decision says, and the headers that tell a client of it."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from gemma_gateway.core.dialect import Dialect


class WindowState(NamedTuple):
    """One sliding window after a decision. (Tuples: they are made on every call.)

    Args:
        limit: requests that the window lets through.
        remaining: requests that it would still let through now.
        reset_seconds: until the oldest request in it leaves; 0 when it is empty.
        seconds: its length.
    """

    limit: int
    remaining: int
    reset_seconds: float
    seconds: int


class Admission(NamedTuple):
    """Whether a request may go on.

    Args:
        allowed: every window had room, and the request now counts in all of them. Otherwise it
            counts in none.
        states: each window of the tier, in the settings' order; empty when nothing was counted
            (store unavailable and ``store_failure`` is ``allow``).
        retry_after: seconds until every window has room again; 0 when allowed.
        degraded: decided without the store.
        stored_at: the request's time in the store's log, microseconds; None: it isn't there.
        noted_at: its time in this process's own log, seconds; None: it isn't there.
    """

    allowed: bool
    states: tuple[WindowState, ...]
    retry_after: float = 0.0
    degraded: bool = False
    stored_at: int | None = None
    noted_at: float | None = None

    @property
    def tightest(self) -> WindowState | None:
        """The window with the fewest requests left; of equals, the one that resets last."""
        found: WindowState | None = None
        for state in self.states:
            if (
                found is None
                or state.remaining < found.remaining
                or (
                    state.remaining == found.remaining and state.reset_seconds > found.reset_seconds
                )
            ):
                found = state
        return found


UNCOUNTED = Admission(True, ())  # where nothing is counted


def headers(admission: Admission, dialect: Dialect) -> dict[str, str]:
    """Response headers of the tightest window: OpenAI's, and those of the route's protocol.

    Returns:
        ``x-ratelimit-limit-requests``, ``-remaining-requests`` and ``-reset-requests`` (such as
        ``1h2m3s`` or ``6ms``).
    """
    tightest = admission.tightest
    if tightest is None:
        return {}
    return {
        "x-ratelimit-limit-requests": str(tightest.limit),
        "x-ratelimit-remaining-requests": str(tightest.remaining),
        "x-ratelimit-reset-requests": duration(tightest.reset_seconds),
        **dialect.limit_headers(tightest.limit, tightest.remaining, tightest.reset_seconds),
    }


def duration(seconds: float) -> str:
    """A length of time as OpenAI writes it: ``6ms``, ``59s``, ``6m0s``, ``1h2m3s``; rounded up."""
    if seconds <= 0:
        return "0s"
    if seconds < 0.999:
        return f"{ceil(seconds * 1000)}ms"
    minutes, rest = divmod(ceil(seconds), 60)
    if minutes == 0:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
