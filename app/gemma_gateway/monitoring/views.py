"""The answers of ``/v1/monitoring``, as they are documented and sent."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from gemma_gateway.core.record import Record
from gemma_gateway.monitoring.columns import model_of

SECONDS_OK = "seconds, of successful calls"


class Summary(BaseModel):
    """Figures over some calls. Averages and percentiles of times are of successful calls: a
    refusal is quick and a time-out long, and neither tells how long an answer takes."""

    total: int
    successful: int
    failed: int = Field(description="The service's fault: status 500 and above")
    refused: int = Field(description="The caller's: limits, filters, bad requests")
    client_closed: int
    success_rate: float | None = Field(description="successful / (successful + failed)")
    error_rate: float | None = Field(description="failed / total")
    average_response_time: float | None = Field(description=SECONDS_OK)
    p95_response_time: float | None = Field(description=SECONDS_OK)
    average_time_to_first_token: float | None = Field(description=f"{SECONDS_OK} that streamed")
    p95_time_to_first_token: float | None = Field(description=f"{SECONDS_OK} that streamed")
    average_queue_time: float | None = Field(
        description="seconds, of calls whose engine reports it"
    )
    average_memory_mb: float | None
    average_gpu_memory_mb: float | None
    average_tokens_per_second: float | None = Field(
        description="Mean over successful calls of output tokens a second"
    )
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    total_tokens: int


class Degradable(BaseModel):
    degraded: bool = Field(
        description="The store is unavailable: only what this process itself has seen"
    )


class Performance(Degradable):
    """A summary, whole and by group."""

    from_: str | None = Field(alias="from", description="First record's time, or the start asked")
    to: str | None
    complete: bool = Field(
        description=(
            "True if no call of the range has left the window of records or was over the bound"
        )
    )
    summary: Summary
    groups: dict[str, Summary]


class Quantiles(BaseModel):
    """Seconds; null when there was no successful call."""

    p50: float | None
    p95: float | None
    p99: float | None


class Totals(BaseModel):
    """Calls and tokens; limited and filtered calls are among the refused ones."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    refused: int = 0
    client_closed: int = 0
    limited: int = 0
    filtered: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Point(Totals):
    """One stretch of time."""

    time: str = Field(description="Its beginning; the last one is still going on")
    response_time: Quantiles
    time_to_first_token: Quantiles


Range = Literal["1h", "6h", "24h", "7d"]


class Series(Degradable):
    """What plots are drawn from."""

    range: Range
    step_seconds: int
    points: list[Point]
    by_model: dict[str, Totals]
    by_route: dict[str, Totals]
    by_outcome: dict[str, int]


class CallView(model_of(Record)):  # type: ignore[misc]  # its base is made at run time
    """One finished call, without its content."""

    key_name: str = Field(description="The key's name; empty for one that is not known any more")
    tokens_per_second: float = Field(description="Output tokens over the response time")
    fault: str = Field(
        description="Whose doing it was that there is no whole answer: caller, policy, engine or "
        "gateway; else empty"
    )


class Calls(Degradable):
    """Calls, newest first. Ask again with ``after`` for what has come since."""

    data: list[CallView]
    cursor: str = Field(description="Empty while the store is unavailable: ask again without it")


class StoreState(BaseModel):
    status: Literal["available", "unavailable"]
    failures: int = Field(description="Commands without an answer since the start")
    outages: int = Field(description="Times it became unavailable since the start")


class EngineState(BaseModel):
    kind: Literal["local", "upstream"]
    ready: bool


class UpstreamView(BaseModel):
    upstream: str
    available: bool
    trouble: str = Field(description="Why it is ejected, or of no use; empty: nothing is wrong")
    in_flight: int


class State(BaseModel):
    """How this gateway process is, now."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    models: list[str]
    store: StoreState
    engine: EngineState
    upstreams: list[UpstreamView]
    in_flight: int
    in_flight_limit: int
    memory_mb: float
    event_loop_lag_seconds: float = Field(description="The longest of the last five seconds")
    records_lost: int = Field(description="Since the start")
    alerts_firing: int


class UsageTotals(BaseModel):
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = Field(0, description="Of the input tokens: from the prefix cache")
    cost: float | None = Field(None, description="Sum of the rows that have one")


class UsageRow(BaseModel):
    """What one key used of one model on one day (UTC)."""

    key_id: str
    name: str = Field(description="Empty for a key that is not known any more")
    model: str
    day: str
    calls: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost: float | None = Field(description="Null for a model without a price")


class Usage(Degradable):
    """By key, day and model."""

    currency: str
    data: list[UsageRow]
    totals: UsageTotals
    unpriced_models: list[str]
