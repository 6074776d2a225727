"""The performance summary: system 8's figures over a list of records."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from gemma_gateway.core.outcomes import CLIENT_CLOSED, FAILED, OK, REFUSED, class_of
from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.columns import ID_CHARS
from gemma_gateway.monitoring.views import Summary

Group = Literal["model", "key", "route", "tier", "upstream"]
AT_ONCE = 500  # records worked on before callers' requests get a turn

GROUPS: dict[Group, Callable[[Record], str]] = {
    "model": lambda record: record.model,
    "key": lambda record: record.key_id,
    "route": lambda record: record.route,
    "tier": lambda record: record.tier,
    "upstream": lambda record: record.upstream or "none",
}


class Figures:
    """Gathers records and tells their figures."""

    def __init__(self) -> None:
        self._classes = dict.fromkeys((OK, FAILED, REFUSED, CLIENT_CLOSED), 0)
        self._times: list[float] = []
        self._first: list[float] = []
        self._queue: list[float] = []
        self._memory: list[float] = []
        self._gpu: list[float] = []
        self._rates: list[float] = []
        self._tokens = [0, 0, 0, 0]

    def add(self, record: Record) -> None:
        """Take one call in."""
        self._classes[class_of(record.outcome)] += 1
        self._tokens[0] += record.input_tokens
        self._tokens[1] += record.output_tokens
        self._tokens[2] += record.cached_tokens
        self._tokens[3] += record.reasoning_tokens
        self._memory.append(record.memory_mb)
        self._gpu.append(record.gpu_memory_mb)
        if record.queue_time is not None:
            self._queue.append(record.queue_time)
        if record.success:
            self._times.append(record.response_time)
            if record.time_to_first_token is not None:
                self._first.append(record.time_to_first_token)
            if record.output_tokens:
                self._rates.append(record.tokens_per_second)

    def summary(self) -> Summary:
        """The figures so far."""
        classes, tokens = self._classes, self._tokens
        total, served = sum(classes.values()), classes[OK] + classes[FAILED]
        return Summary(
            total=total,
            successful=classes[OK],
            failed=classes[FAILED],
            refused=classes[REFUSED],
            client_closed=classes[CLIENT_CLOSED],
            success_rate=classes[OK] / served if served else None,
            error_rate=classes[FAILED] / total if total else None,
            average_response_time=average(self._times),
            p95_response_time=percentile(self._times, 95),
            average_time_to_first_token=average(self._first),
            p95_time_to_first_token=percentile(self._first, 95),
            average_queue_time=average(self._queue),
            average_memory_mb=average(self._memory),
            average_gpu_memory_mb=average(self._gpu),
            average_tokens_per_second=average(self._rates),
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cached_tokens=tokens[2],
            reasoning_tokens=tokens[3],
            total_tokens=tokens[0] + tokens[1],
        )


async def summarise(
    records: Sequence[Record], group: Group | None
) -> tuple[Summary, dict[str, Summary]]:
    """The figures of all records, and of each group of them.

    Args:
        records: in any order.
        group: what they are grouped by; None: no groups.
    """
    whole, groups = Figures(), dict[str, Figures]()
    name_of = GROUPS[group] if group else None
    for at in range(0, len(records), AT_ONCE):
        for record in records[at : at + AT_ONCE]:
            whole.add(record)
            if name_of is not None:
                groups.setdefault(name_of(record), Figures()).add(record)
        await asyncio.sleep(0)
    names = _short(groups) if group == "key" else {name: name for name in groups}
    return whole.summary(), {names[name]: groups[name].summary() for name in sorted(groups)}


def average(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def percentile(values: Iterable[float], percent: int) -> float | None:
    """The nearest-rank percentile: a value that was really measured; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]


def _short(ids: Iterable[str]) -> dict[str, str]:
    """Each id cut short, unless another one begins the same."""
    seen: dict[str, list[str]] = {}
    for key_id in ids:
        seen.setdefault(key_id[:ID_CHARS], []).append(key_id)
    return {k: k if len(same) > 1 else short for short, same in seen.items() for k in same}
