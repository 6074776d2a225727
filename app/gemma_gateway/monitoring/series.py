"""From rollups to the points of a plot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gemma_gateway.core.outcomes import FILTERED, LIMITED, OK, class_of
from gemma_gateway.monitoring.histogram import quantile
from gemma_gateway.monitoring.rollups import MINUTE, TEN_MINUTES, Bucket, Rollups, Sums
from gemma_gateway.monitoring.timestamps import iso
from gemma_gateway.monitoring.views import Point, Quantiles, Range, Series, Totals


class Shape(NamedTuple):
    """How a range is drawn.

    Args:
        seconds: its length.
        step: seconds of one point.
        source: step of the rollups it is made of.
        kept: seconds that an answer may be given again: the longest range takes a busy gateway a
            quarter of a second of CPU, and doesn't look different every second.
    """

    seconds: int
    step: int
    source: int
    kept: float


SHAPES: dict[Range, Shape] = {
    "1h": Shape(3600, 60, MINUTE, 0.5),
    "6h": Shape(6 * 3600, 600, TEN_MINUTES, 5.0),
    "24h": Shape(86_400, 600, TEN_MINUTES, 10.0),
    "7d": Shape(7 * 86_400, 3600, TEN_MINUTES, 30.0),
}


class Plots:
    """Series for everybody who looks, each made once for all of them.

    Args:
        rollups: where the sums are.
    """

    def __init__(self, rollups: Rollups) -> None:
        self._rollups = rollups
        self._kept: dict[Range, tuple[float, Series]] = {}
        self._making = {range_: asyncio.Lock() for range_ in SHAPES}

    async def series(self, range_: Range) -> Series:
        """See :func:`series`; as old as ``Shape.kept`` allows."""
        async with self._making[range_]:
            until, found = self._kept.get(range_, (0.0, None))
            if found is None or time.monotonic() >= until:
                found = await series(self._rollups, range_, time.time())
                kept = 0.0 if found.degraded else SHAPES[range_].kept
                self._kept[range_] = (time.monotonic() + kept, found)
            return found


async def series(rollups: Rollups, range_: Range, now: float) -> Series:
    """The points up to now, empty ones too; the last one is still going on.

    Args:
        rollups: where the sums are.
        range_: how far back.
        now: seconds since the epoch.
    """
    shape = SHAPES[range_]
    last = int(now) // shape.step * shape.step
    first = last - shape.seconds + shape.step
    merged = {start: Sums() for start in range(first, last + 1, shape.step)}
    whole, degraded = Sums(), False
    async for bucket, away in rollups.scan(shape.source, first, last + shape.step - 1):
        degraded |= away
        merged[bucket.start // shape.step * shape.step].merge(bucket.sums)
        whole.merge(bucket.sums)
    by_outcome: dict[str, int] = {}
    for (_, _, outcome), row in sorted(whole.rows.items(), key=lambda item: item[0][2]):
        by_outcome[outcome] = by_outcome.get(outcome, 0) + row[0]
    return Series(
        range=range_,
        step_seconds=shape.step,
        points=[_point(start, sums) for start, sums in merged.items()],
        by_model=_by(whole, 1),
        by_route=_by(whole, 0),
        by_outcome=by_outcome,
        degraded=degraded,
    )


def totals(rows: Mapping[tuple[str, str, str], list[int]]) -> Totals:
    """Calls by class, and tokens.

    Args:
        rows: see :class:`monitoring.rollups.Sums`.
    """
    found = Totals()
    for (_, _, outcome), (calls, read, written, *_) in rows.items():
        kind = class_of(outcome)
        name = "ok" if kind is OK else kind
        setattr(found, name, getattr(found, name) + calls)
        found.requests += calls
        found.limited += calls if outcome in LIMITED else 0
        found.filtered += calls if outcome in FILTERED else 0
        found.input_tokens += read
        found.output_tokens += written
    return found


def bucket_view(bucket: Bucket) -> dict[str, object]:
    """A stretch's sums as the export has them: every row, and the times' histograms."""
    return {
        "time": iso(bucket.start),
        "step_seconds": bucket.step,
        "calls": [
            {
                "route": route,
                "model": model,
                "outcome": outcome,
                "requests": calls,
                "input_tokens": read,
                "output_tokens": written,
                "cached_tokens": cached,
                "reasoning_tokens": reasoning,
            }
            for (route, model, outcome), (calls, read, written, cached, reasoning) in sorted(
                bucket.sums.rows.items()
            )
        ],
        "response_time": _quantiles(bucket.sums.response).model_dump(),
        "time_to_first_token": _quantiles(bucket.sums.first_token).model_dump(),
    }


def _point(start: int, sums: Sums) -> Point:
    return Point(
        time=iso(start),
        response_time=_quantiles(sums.response),
        time_to_first_token=_quantiles(sums.first_token),
        **totals(sums.rows).model_dump(),
    )


def _quantiles(counts: Mapping[int, int]) -> Quantiles:
    p50, p95, p99 = (quantile(counts, share) for share in (0.5, 0.95, 0.99))
    return Quantiles(p50=p50, p95=p95, p99=p99)


def _by(sums: Sums, place: int) -> dict[str, Totals]:
    """Totals by a part of the rows' keys: 0 the route, 1 the model."""
    names: Iterable[str] = sorted({key[place] for key in sums.rows})
    return {
        name: totals({key: row for key, row in sums.rows.items() if key[place] == name})
        for name in names
    }
