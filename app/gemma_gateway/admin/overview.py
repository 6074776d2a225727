"""What the operator sees at a glance: figures over calls, plots, the latest calls, the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from gemma_gateway import __version__
from gemma_gateway.access.names import Names
from gemma_gateway.core.engine import Engine
from gemma_gateway.core.outcomes import fault_of
from gemma_gateway.core.record import Record
from gemma_gateway.limits.room import Room
from gemma_gateway.monitoring.columns import shown
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.records import SKEW, RequestLog
from gemma_gateway.monitoring.search import Search
from gemma_gateway.monitoring.series import Plots
from gemma_gateway.monitoring.summary import Group, summarise
from gemma_gateway.monitoring.timestamps import iso
from gemma_gateway.monitoring.views import (
    Calls,
    CallView,
    EngineState,
    Performance,
    Range,
    Series,
    State,
    StoreState,
    UpstreamView,
)
from gemma_gateway.storage import Store, StoreError

MOST_RECORDS = 10_000  # that one summary is made of


class Overview:
    """Answers of ``/v1/monitoring``; never raises StoreError.

    Args:
        request_log: knows the calls.
        engine: where they go.
        room: knows what is in flight.
        memory: what the process weighs.
        store: the shared store.
        lag: seconds by which the event loop is late.
        firing: number of alerts that fire.
        names: knows what keys are called.
    """

    def __init__(
        self,
        request_log: RequestLog,
        engine: Engine,
        room: Room,
        memory: Memory,
        store: Store,
        lag: Callable[[], float],
        firing: Callable[[], int],
        names: Names,
    ) -> None:
        self._request_log = request_log
        self._plots = Plots(request_log.rollups)
        self._engine = engine
        self._room = room
        self._memory = memory
        self._store = store
        self._lag = lag
        self._firing = firing
        self._names = names

    # ---- calls

    async def performance(
        self, last: int, start: float | None, end: float | None, group: Group | None
    ) -> Performance:
        """The summary of the newest ``last`` calls, or of those that ended from ``start`` until
        before ``end`` (seconds since the epoch), at most ``MOST_RECORDS`` of them."""
        ranged = start is not None or end is not None
        look = await self._request_log.look(MOST_RECORDS if ranged else last, start=start, end=end)
        summary, groups = await summarise(look.records, group)
        times = [record.time for record in look.records]
        first = start if start is not None else min(times, default=None)
        until = end if end is not None else max(times, default=None)
        return Performance.model_validate(
            {
                "from": None if first is None else iso(first),
                "to": None if until is None else iso(until),
                "complete": look.complete if ranged else not look.degraded,
                "summary": summary,
                "groups": groups,
                "degraded": look.degraded,
            }
        )

    async def series(self, range_: Range) -> Series:
        """Sums by time; some seconds old where the range is long."""
        await self._request_log.flush()
        return await self._plots.series(range_)

    async def calls(self, limit: int, after: str, search: Search) -> Calls:
        """The newest calls that fit, or those of the next ``limit`` calls since a cursor; newest
        first.

        Raises:
            ValueError: ``after`` is no cursor.
        """
        found: list[tuple[Record, str]] = []
        try:
            if after:
                page, cursor = await self._request_log.after(after, limit)
                found = await self._fitting(page, search, {})
            else:
                cursor = await self._request_log.newest()
                names: dict[str, str] = {}
                async for page in self._request_log.back():
                    found += await self._fitting(page, search, names)
                    # A record reaches the store after its call's end, never before it.
                    passed = page and page[-1].time < search.start - SKEW
                    if passed or len(found) >= limit:
                        break
            degraded = not self._store.available
        except StoreError:
            cursor, degraded = after, True
            own = [] if after else self._request_log.own()[::-1]
            found = [(record, "") for record in own if search.fits(record, "")]
        newest = sorted(found[:limit], key=lambda pair: pair[0].time, reverse=True)
        return Calls(data=[_view(*pair) for pair in newest], cursor=cursor, degraded=degraded)

    async def _fitting(
        self, records: list[Record], search: Search, names: dict[str, str]
    ) -> list[tuple[Record, str]]:
        """Those that fit, and what their keys are called; ``names`` learns more of these."""
        if new := {record.key_id for record in records} - names.keys():
            names |= await self._names.of([*new])
        named = [(record, names.get(record.key_id, "")) for record in records]
        return [pair for pair in named if search.fits(*pair)]

    # ---- state

    async def state(self) -> State:
        """How this process and what it needs are."""
        engine, store = self._engine, self._store
        now = engine.state()
        status: Literal["healthy", "degraded", "unhealthy"] = "healthy"
        if not now.ready:
            status = "unhealthy"
        elif not store.available or any(s.ejected for s in now.servers):
            status = "degraded"
        return State(
            status=status,
            version=__version__,
            models=list(engine.models()),
            store=StoreState(
                status="available" if store.available else "unavailable",
                failures=store.failures,
                outages=store.outages,
            ),
            engine=EngineState(kind=now.kind, ready=now.ready),
            upstreams=[
                UpstreamView(
                    upstream=s.name,
                    available=not s.ejected,
                    trouble=s.trouble,
                    in_flight=s.outstanding,
                )
                for s in now.servers
            ],
            in_flight=self._room.taken,
            in_flight_limit=self._room.most,
            memory_mb=self._memory.resident_mb,
            event_loop_lag_seconds=self._lag(),
            records_lost=self._request_log.lost,
            alerts_firing=self._firing(),
        )


def _view(record: Record, key_name: str) -> CallView:
    return CallView(
        **shown(msgspec.structs.asdict(record)),
        key_name=key_name,
        tokens_per_second=record.tokens_per_second,
        fault=fault_of(record.outcome),
    )
