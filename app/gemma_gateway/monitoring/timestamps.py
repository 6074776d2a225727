"""Times as operators write and read them."""

from __future__ import annotations

from datetime import UTC, datetime

YEAR_1, YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0  # seconds since the epoch


def iso(seconds: float) -> str:
    """A time as ISO 8601 in UTC, to the millisecond.

    Args:
        seconds: since the epoch.
    """
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str | float) -> float:
    """A time in seconds since the epoch.

    Args:
        text: ISO 8601 (UTC where it names no zone), or seconds since the epoch.

    Raises:
        ValueError: it is neither, or no year from 1 to 9999.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            # A "+" in a query that isn't escaped arrives as a space.
            moment = datetime.fromisoformat(str(text).strip().replace(" ", "+"))
        except ValueError:
            raise ValueError("give a time as ISO 8601 or as seconds since 1970") from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not YEAR_1 <= seconds <= YEAR_9999:
        raise ValueError("this time is out of range")
    return seconds
