"""Failed keys, counted by the address that they come from."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil

from gemma_gateway.core.buckets import Buckets
from gemma_gateway.core.errors import Code, GatewayError

# A client with an old key in its settings fails some dozen times before somebody notices; who
# guesses needs millions of tries.
BURST = 80
PER_SECOND = 0.5
# What a throttled address still costs the store, since one of its keys may be good: an office with
# a single address may hold both somebody who guesses and somebody with a new key.
LOOKUPS_PER_SECOND = 1.0
MOST = 10_000  # addresses that are remembered, about 150 bytes each
LINE_SECONDS = 10.0  # between two lines in the log

log = logging.getLogger("gateway")


class Throttle:
    """Refuses what fails, once an address has failed too often. Keys that are known to be good are
    never asked about here, whatever else comes from their address.

    Args:
        clock: monotonic seconds.

    Attributes:
        refused: failed keys that were answered with RATE_LIMIT_EXCEEDED, since the start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = Buckets(BURST, PER_SECOND, MOST, clock)
        self._lookups = Buckets(1, LOOKUPS_PER_SECOND, MOST, clock)
        self._lines = Buckets(1, 1 / LINE_SECONDS, 1, clock)
        self.refused = 0

    def failed(self, address: str) -> float:
        """Count a failed key.

        Args:
            address: of the client; empty: not known, and nothing is counted.

        Returns:
            0, or how many seconds the address has to wait, having failed too often.
        """
        return self._failures.take(_place(address)) if address else 0.0

    def wait(self, address: str) -> float:
        """The same, counting nothing."""
        return self._failures.wait(_place(address)) if address else 0.0

    def may_look_up(self, address: str) -> bool:
        """Whether the store may be asked for one more key of an address that has to wait."""
        return not self._lookups.take(_place(address))

    def refusal(self, address: str, wait: float) -> GatewayError:
        """What an address that has to wait is told; now and then the log is told, too."""
        self.refused += 1
        if not self._lines.take(""):
            log.warning("too many failed keys from %s; refused so far: %d", address, self.refused)
        return GatewayError(
            Code.RATE_LIMIT_EXCEEDED,
            f"Too many failed API keys from your address; try again in {ceil(wait)} seconds.",
            wait=wait,
        )


@lru_cache(maxsize=1024)
def _place(address: str) -> str:
    """The address, or of IPv6 its network: whoever has one address there has all 2**64."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found) >> 64 << 64, 64)))
    return address
