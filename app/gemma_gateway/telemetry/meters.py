"""What each call that is over adds to the metrics."""

from __future__ import annotations

from gemma_gateway.core.call import Call
from gemma_gateway.core.outcomes import fault_of
from gemma_gateway.core.stage import End
from gemma_gateway.telemetry.metrics import CallMeters, Metrics


class Meters:
    """Counts calls; an ``Observer``."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        metrics, answer, usage = self._metrics, call.answer, end.usage
        tier = call.principal.tier_name if call.principal else "none"
        meters = metrics.meters(call.dialect.path, end.model, tier)
        meters.outcome(end.outcome, fault_of(end.outcome))
        meters.duration.observe(end.seconds)
        if answer.first_token:
            _stream(call, end, meters)
        if answer.queue_time is not None:
            meters.queue.observe(answer.queue_time)
        if usage.prompt_tokens or usage.completion_tokens:
            meters.tokens_in.inc(usage.prompt_tokens)
            meters.tokens_out.inc(usage.completion_tokens)
            meters.rate.observe(usage.completion_tokens / end.seconds)
        for decision in call.decisions:
            metrics.filter_child(*decision).inc()
        for change in call.request.changes:
            metrics.changed(change.how)
        if call.request.control_tokens:
            metrics.control_tokens.labels(call.path).inc(call.request.control_tokens)


def _stream(call: Call, end: End, meters: CallMeters) -> None:
    """What only streams have. Per call: a measure per token would cost more than the token."""
    answer, tokens = call.answer, end.usage.completion_tokens
    meters.first_token.observe(answer.first_token - call.started)
    meters.held_seconds.observe(answer.held_seconds)
    meters.held_characters.observe(answer.held_characters)
    if end.outcome == "ok" and answer.last_token and tokens > 1:
        meters.per_token.observe((answer.last_token - answer.first_token) / (tokens - 1))
