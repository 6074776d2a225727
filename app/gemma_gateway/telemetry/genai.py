"""A call to a model in the words of OpenTelemetry's semantic conventions. Never content.

Source: open-telemetry/semantic-conventions-genai, ``gen_ai.client.inference`` (in development; the
names are those of 2026 and of semantic-conventions 1.37 and later, with ``gen_ai.provider.name``).
"""

from __future__ import annotations

from typing import Any

from gemma_gateway.core.call import Call

Attributes = dict[str, str | int | float | bool | tuple[str, ...]]

FRACTIONS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
COUNTS = ("top_k", "seed")
LOWEST, HIGHEST = -(2**63), 2**63 - 1  # OTLP's integers; one beyond them would lose a whole batch


def operation(call: Call) -> str:
    """``gen_ai.operation.name``; routes that the conventions don't know go by their own name."""
    return call.dialect.operation or call.dialect.name


def request(call: Call, provider: str) -> Attributes:
    """What is asked of the model.

    Args:
        provider: ``gen_ai.provider.name``.
    """
    found: Attributes = {
        "gen_ai.operation.name": operation(call),
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": call.request.model,
    }
    if not (bound := call.dialect.max_tokens):
        return found
    body = call.request.body
    for key in FRACTIONS:
        if (value := body.get(key)) is not None:
            found[f"gen_ai.request.{key}"] = float(value)
    for key in COUNTS:
        _count(found, f"gen_ai.request.{key}", body.get(key))
    _count(found, "gen_ai.request.max_tokens", body.get(bound[0]))
    if body.get("n") != 1:
        _count(found, "gen_ai.request.choice.count", body.get("n"))
    if call.request.stream:
        found["gen_ai.request.stream"] = True
    return found


def response(call: Call, since: float) -> Attributes:
    """What came of it.

    Args:
        since: perf_counter at which the engine was asked, seconds.
    """
    found: Attributes = {"gen_ai.response.model": call.request.model}
    if call.dialect.charged and (usage := call.answer.usage) is not None:
        _count(found, "gen_ai.usage.input_tokens", usage.prompt_tokens)
        _count(found, "gen_ai.usage.output_tokens", usage.completion_tokens)
        if usage.cached_tokens:
            _count(found, "gen_ai.usage.cache_read.input_tokens", usage.cached_tokens)
        if usage.reasoning_tokens:
            _count(found, "gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens)
        if usage.estimated:
            found["gateway.usage_estimated"] = True
    if call.answer.finish_reason:
        found["gen_ai.response.finish_reasons"] = (call.answer.finish_reason,)
    if call.answer.first_token:
        found["gen_ai.response.time_to_first_chunk"] = call.answer.first_token - since
    if call.answer.queue_time is not None:
        found["gateway.queue_time"] = call.answer.queue_time
    host, _, port = call.answer.upstream.rpartition(":")
    if host and port.isdigit():  # an engine in process has no address
        found["server.address"] = host.strip("[]")
        found["server.port"] = int(port)
    return found


def _count(found: Attributes, name: str, value: Any) -> None:
    if isinstance(value, int) and LOWEST <= value <= HIGHEST:
        found[name] = value
