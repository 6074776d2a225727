"""How a call's outcome counts: one table for records, rollups, alerts and figures."""

from __future__ import annotations

from app.errors import Code

OK, FAILED, REFUSED, CLIENT_CLOSED = "successful", "failed", "refused", "client_closed"
LIMITED = frozenset({Code.RATE_LIMIT_EXCEEDED.name})
FILTERED = frozenset({Code.CONTENT_FILTERED.name, Code.RESPONSE_FILTERED.name})
_CLASSES = {"ok": OK, "client_closed": CLIENT_CLOSED} | {
    code.name: FAILED if code.value.status >= 500 else REFUSED for code in Code
}


def status_of(outcome: str, sent: int) -> int:
    """The status that a call counts with.

    Args:
        outcome: ``ok``, ``client_closed`` or a name of ``Code``.
        sent: the HTTP status that the client got: 200, too, for a stream that broke off later.
    """
    failed = _CLASSES.get(outcome) is FAILED and sent < 500
    return Code[outcome].value.status if failed else sent


def class_of(outcome: str) -> str:
    """``successful``, ``failed`` (the service's fault), ``refused`` (the caller's: limits, filters
    and bad requests) or ``client_closed``. Names that are new to this version count as refused."""
    return _CLASSES.get(outcome, REFUSED)
