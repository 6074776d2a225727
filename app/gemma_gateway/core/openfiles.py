"""How many file descriptors a process may have open, and how many a gateway needs."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

SPARE = 100  # beside those of calls: store, checks of upstreams, log, engine
UNLIMITED = 2**31


def needed(max_in_flight: int) -> int:
    """Descriptors for so many calls at once: a call has two sockets."""
    return 2 * max_in_flight + SPARE


def allowed() -> int:
    """How many this process can get: the hard limit; ``UNLIMITED`` without one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return UNLIMITED if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> int:
    """Raise the soft limit, often 1,024, to the hard one. Returns what is allowed now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):  # macOS refuses "unlimited"
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def exhausted() -> bool:
    """Whether not one more descriptor can be had now. Costs a few microseconds."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    return False
