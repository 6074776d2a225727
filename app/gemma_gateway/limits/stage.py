"""The stage of the limits, and the one that stands for a tier's windows of requests."""

from __future__ import annotations

from collections.abc import Callable

from gemma_gateway.core.call import Call, Client, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.outcomes import UNSPENT
from gemma_gateway.core.stage import End, Limit, Waiting
from gemma_gateway.limits import admission as admissions
from gemma_gateway.limits.admission import Admission
from gemma_gateway.limits.limiter import Limiter


class Limits:
    """Reserves what a call may need of each limit.

    Args:
        limits: in order.
    """

    name = "limits"

    def __init__(self, limits: tuple[Limit, ...]) -> None:
        self._limits = limits

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``; raises what ``Limit.reserve`` raises."""
        return self._limits[0].reserve(call) if len(self._limits) == 1 else self._each(call)

    async def _each(self, call: Call) -> None:
        for limit in self._limits:
            await limit.reserve(call)


class RequestWindows:
    """A tier's sliding windows of requests. A call counts before it runs, so that no burst gets
    past a limit; what the service itself then fails, before any answer, is taken back.

    Args:
        limiter: counts.
        count: told each decision: ``allowed`` or ``denied``, and whether it was made without the
            store.
    """

    def __init__(self, limiter: Limiter, count: Callable[[str, bool], None]) -> None:
        self._limiter = limiter
        self._count = count

    async def reserve(self, call: Call) -> None:
        """See ``Limit``; raises RATE_LIMIT_EXCEEDED, or LIMIT_STORE_UNAVAILABLE where the operator
        wants that while the store is unavailable."""
        assert call.principal is not None  # the first stage knows
        admission = await self._limiter.admit(call.principal)
        headers = call.answer.headers
        headers.update(admissions.headers(admission))
        self._count("allowed" if admission.allowed else "denied", admission.degraded)
        if not admission.allowed:
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"Rate limit exceeded; try again in {headers.get('retry-after', '1')} seconds.",
                headers=dict(headers),  # the error knows by them whether a retry is worth it
            )
        call.notes[Admission] = admission

    def settle(self, call: Call, end: End) -> Waiting:
        """See ``Limit``."""
        if end.outcome not in UNSPENT or call.answer.first_token:
            return None
        admission = call.notes.get(Admission)
        if admission is None or call.principal is None:
            return None
        return self._give_back(call, call.principal, admission)

    async def _give_back(self, call: Call, principal: Principal, admission: Admission) -> None:
        now = await self._limiter.give_back(principal, admission)
        call.answer.headers.update(admissions.headers(now))
