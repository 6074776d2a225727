"""Times in log-spaced buckets: small, mergeable, with a known error.

Method: buckets whose bounds grow by a constant factor, as in DDSketch (Masson, Rim and Lee,
"DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019).
A quantile is told as the geometric middle of its bucket, so it is off by a factor of at most
2^(1/16), 4.5 %, between a millisecond and 4.6 hours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

PER_DOUBLING = 8  # buckets
LEAST = 0.001  # seconds; all shorter times are in the first bucket
BUCKETS = 24 * PER_DOUBLING  # the last one holds everything above 4.6 hours
_LAST = BUCKETS - 1
_log2 = math.log2


def bucket(seconds: float) -> int:
    """Number of the bucket that a time falls into, 0 to ``BUCKETS - 1``."""
    if seconds <= LEAST:
        return 0
    found = int(_log2(seconds / LEAST) * PER_DOUBLING)
    return found if found < _LAST else _LAST


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The nearest-rank quantile.

    Args:
        counts: how many times fell into each bucket.
        share: 0 to 1, such as 0.95.

    Returns:
        Seconds; None when nothing was counted.
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    rank = max(1, math.ceil(share * total - 1e-9))
    seen = 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= rank:
            break
    return float(LEAST * 2 ** ((number + 0.5) / PER_DOUBLING))
