"""Figures of a run: percentiles, rates, errors by code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gemma_gateway.cli.bench.call import Call
from gemma_gateway.cli.bench.load import Run

BUSY = 0.8  # share of a core above which this program may have been the bottleneck
LATE = 0.05  # seconds that an open loop's calls may leave late
RANKS = (50, 90, 95, 99)


@dataclass(frozen=True)
class Spread:
    """How a quantity is distributed; percentiles are interpolated linearly between the two nearest
    samples (Hyndman and Fan's type 7)."""

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples: Iterable[float | None]) -> Spread | None:
        """The spread of the samples that are there; None where there is none."""
        values = np.array([s for s in samples if s is not None], dtype=float)
        if not values.size:
            return None
        p50, p90, p95, p99 = (float(p) for p in np.percentile(values, RANKS))
        mean, least, most = float(values.mean()), float(values.min()), float(values.max())
        return cls(int(values.size), mean, least, p50, p90, p95, p99, most)


@dataclass(frozen=True)
class Figures:
    """What one level showed. Times in seconds, and of calls that ended well only.

    Args:
        level: callers of a closed loop, or calls a second (``2/s``) of an open one.
        loop: ``closed`` or ``open``.
        seconds: from its first call to the end of the last.
        calls: that ended.
        ok: of these, well.
        errors: of the others, by code.
        calls_per_second: that ended well.
        output_tokens_per_second: of calls that ended well, over ``seconds``.
        tokens_estimated: a server told no counts: tokens are events that carried text.
        inter_token_latency: between two events with text; one sample a gap, of all calls.
        time_per_output_token: a call's mean after its first token; one sample a call.
        tokens_per_second_of_a_call: output tokens over the response time.
        late: p99 of the seconds that calls left after they were due: this program's own delay.
        cpu_share: of one core, that this program used.
        interrupted: calls in flight when the user stopped it.
    """

    level: str
    concurrency: int | None
    rate: float | None
    loop: str
    seconds: float
    calls: int
    ok: int
    errors: dict[str, int]
    calls_per_second: float
    input_tokens: int
    output_tokens: int
    input_tokens_per_second: float
    output_tokens_per_second: float
    tokens_estimated: bool
    response_time: Spread | None
    time_to_first_token: Spread | None
    inter_token_latency: Spread | None
    time_per_output_token: Spread | None
    tokens_per_second_of_a_call: Spread | None
    late: float
    cpu_share: float
    interrupted: int
    given_up: str

    @classmethod
    def of(cls, run: Run) -> Figures:
        """The figures of a level that has ended or was interrupted."""
        good = [call for call in run.calls if call.ok]
        seconds = run.seconds
        read = sum(call.input_tokens for call in good)
        written = sum(call.output_tokens for call in good)
        late = Spread.of(call.sent - call.due for call in run.calls)
        return cls(
            level=run.level.name,
            concurrency=run.level.concurrency,
            rate=run.level.rate,
            loop="closed" if run.level.rate is None else "open",
            seconds=seconds,
            calls=len(run.calls),
            ok=len(good),
            errors=dict(Counter(c.outcome for c in run.calls if not c.ok).most_common()),
            calls_per_second=_per(len(good), seconds),
            input_tokens=read,
            output_tokens=written,
            input_tokens_per_second=_per(read, seconds),
            output_tokens_per_second=_per(written, seconds),
            tokens_estimated=any(call.estimated for call in good),
            response_time=Spread.of(call.response_time for call in good),
            time_to_first_token=Spread.of(call.first_token for call in good),
            inter_token_latency=Spread.of(gap for call in good for gap in call.gaps),
            time_per_output_token=Spread.of(call.per_token for call in good),
            tokens_per_second_of_a_call=Spread.of(
                _per(call.output_tokens, call.response_time) for call in good
            ),
            late=late.p99 if late else 0.0,
            cpu_share=_per(run.cpu_seconds, seconds),
            interrupted=run.interrupted,
            given_up=run.given_up,
        )

    def json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def notes(figures: list[Figures], calls: Iterable[Call]) -> list[str]:
    """What a reader has to know before believing the figures, in plain sentences."""
    said = []
    for level in figures:
        if level.given_up:
            said.append(f"Level {level.level} was ended early: {level.given_up}.")
        if level.cpu_share > BUSY or level.late > LATE:
            said.append(
                f"Level {level.level}: this program used {level.cpu_share:.0%} of a core, and its "
                f"calls left up to {level.late * 1000:.0f} ms late (p99): part of the times is "
                "its own. Run it on a machine of its own, or spread the load over several."
            )
    if any(level.tokens_estimated for level in figures):
        said.append(
            "The server reported no token counts: each stream event with text counts as one "
            "token here, though it may hold several."
        )
    errors = sum((Counter(level.errors) for level in figures), Counter())
    details = {call.outcome: call.detail for call in calls if call.detail}
    for code, number in errors.most_common():
        detail = f" ({details[code].removesuffix('.')})" if code in details else ""
        said.append(f"{number} calls ended with {code}{detail}. {ADVICE.get(code, '')}".strip())
    return said


ADVICE = {
    "RATE_LIMIT_EXCEEDED": "Give this key a tier with more room, or raise "
    "GATEWAY_REQUESTS_PER_HOUR for the duration of the benchmark.",
    "ENGINE_OVERLOADED": "GATEWAY_MAX_IN_FLIGHT or the engine's own queue is full at this level.",
    "CLIENT_TIMEOUT": "--timeout sets how long a call may take.",
}


def _per(amount: float, seconds: float) -> float:
    return amount / seconds if seconds > 0 else 0.0
