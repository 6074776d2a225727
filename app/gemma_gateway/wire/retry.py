"""When to try again, as HTTP says it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from math import ceil

LEAST, MOST = 1, 3600  # seconds that anybody is told to wait, whatever a server says


def seconds(retry_after: str) -> int:
    """Whole seconds to wait, from a server's ``Retry-After``.

    Args:
        retry_after: seconds, or a date (RFC 9110, 10.2.3); anything else counts as empty.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(max(LEAST, int(text[:9])), MOST)
    try:
        wait = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return LEAST
    return min(max(LEAST, ceil(wait)), MOST)
