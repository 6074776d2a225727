"""How a call's outcome counts: one table for records, rollups, alerts and figures."""

from __future__ import annotations

from gemma_gateway.core.errors import Code

LEFT = 499  # status of a call whose client did (nginx's)
OK, FAILED, REFUSED, CLIENT_CLOSED = "successful", "failed", "refused", "client_closed"
LIMITED = frozenset({Code.RATE_LIMIT_EXCEEDED.name})
FILTERED = frozenset({Code.CONTENT_FILTERED.name, Code.RESPONSE_FILTERED.name})
# Whose doing it was that a caller has no whole answer.
NOBODY, CALLER, POLICY, ENGINE, GATEWAY = "", "caller", "policy", "engine", "gateway"
_FAULTS = (
    {"ok": NOBODY, "client_closed": CALLER}
    | {code.name: GATEWAY if code.value.status >= 500 else CALLER for code in Code}
    | {Code.CLIENT_DEADLINE.name: CALLER}
    | dict.fromkeys(LIMITED | FILTERED, POLICY)
    | {
        code.name: ENGINE
        for code in (
            Code.GENERATION_ERROR,
            Code.ENGINE_UNAVAILABLE,
            Code.ENGINE_OVERLOADED,
            Code.ENGINE_TIMEOUT,
            Code.UPSTREAM_ROUTE_MISSING,
            Code.UPSTREAM_KEY_REFUSED,
            Code.UPSTREAM_ANSWER_INVALID,
        )
    }
)
# Outcomes that give a caller's request back where nothing of an answer was sent: the service's own.
# A time-out doesn't: the engine has worked for it, and most of them are asked for by the caller.
UNSPENT = frozenset(name for name, fault in _FAULTS.items() if fault in (ENGINE, GATEWAY)) - {
    Code.ENGINE_TIMEOUT.name
}
_CLASSES = {code.name: FAILED if code.value.status >= 500 else REFUSED for code in Code} | {
    "ok": OK,
    "client_closed": CLIENT_CLOSED,
    Code.CLIENT_DEADLINE.name: CLIENT_CLOSED,  # it has left, though not every proxy says so
}


def status_of(outcome: str, sent: int) -> int:
    """The status that a call counts with.

    Args:
        outcome: ``ok``, ``client_closed`` or a name of ``Code``.
        sent: the HTTP status that the client got: 200, too, for a stream that broke off later.
    """
    kind = class_of(outcome)
    if kind is CLIENT_CLOSED:
        return LEFT
    return Code[outcome].value.status if kind is FAILED and sent < 500 else sent


def fault_of(outcome: str) -> str:
    """``caller``, ``policy`` (the operator's limits and filters), ``engine``, ``gateway``, or empty
    for ``ok``. Names that are new to this version count as the caller's."""
    return _FAULTS.get(outcome, CALLER)


def class_of(outcome: str) -> str:
    """``successful``, ``failed`` (the service's fault), ``refused`` (the caller's: limits, filters
    and bad requests) or ``client_closed``. Names that are new to this version count as refused."""
    return _CLASSES.get(outcome, REFUSED)
