"""What was changed in a request, as its client and its record are told."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gemma_gateway.core.call import Change

HEADER = "x-gateway-changed"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")  # what may stand in a header, and in a record
MOST_NAMES = 16


def listed(changes: Iterable[Change]) -> str:
    """Place and kind of each, such as ``messages.3.content;stripped, max_tokens;clamped``: each
    once, in the order in which they were made, at most 16; ``+2``: two more. Empty: none."""
    each = dict.fromkeys(changes)
    told = [f"{c.where};{c.how}" for c in each if PLAIN_NAME.fullmatch(c.where)][:MOST_NAMES]
    more = len(each) - len(told)
    return ", ".join([*told, f"+{more}"] if more else told)
