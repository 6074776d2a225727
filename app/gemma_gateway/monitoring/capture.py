"""From a finished call to its record."""

from __future__ import annotations

import time

from gemma_gateway.core.call import Call
from gemma_gateway.core.changes import MOST_NAMES, listed
from gemma_gateway.core.outcomes import status_of
from gemma_gateway.core.prompt import NO_PROMPT, UsedPrompt
from gemma_gateway.core.record import Record
from gemma_gateway.core.stage import End
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.records import RequestLog


class Recorder:
    """Keeps the record of each call to a route whose tokens are charged; an ``Observer``.

    Args:
        request_log: keeps them.
        memory: the newest measure of it.
    """

    def __init__(self, request_log: RequestLog, memory: Memory) -> None:
        self._request_log = request_log
        self._memory = memory

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``."""
        if call.dialect.charged:
            self._request_log.add(record_of(call, end, self._memory))


def record_of(call: Call, end: End, memory: Memory) -> Record:
    """The record of a call that is over now."""
    principal, request, answer, usage = call.principal, call.request, call.answer, end.usage
    prompt = call.notes.get(UsedPrompt, NO_PROMPT)
    return Record(
        time=time.time(),
        id=call.engine_id,
        request_id=call.id,
        key_id=principal.key_id if principal else "",
        tier=principal.tier_name if principal else "none",
        route=call.dialect.path,
        model=end.model,
        stream=request.stream,
        status=status_of(end.outcome, end.status),
        outcome=end.outcome,
        response_time=end.seconds,
        time_to_first_token=answer.first_token - call.started if answer.first_token else None,
        queue_time=answer.queue_time,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        usage_estimated=usage.estimated,
        finish_reason=answer.finish_reason,
        input_length=request.input_length,
        upstream=answer.upstream,
        memory_mb=memory.resident_mb,
        gpu_memory_mb=memory.gpu_mb,
        refused_field=answer.refused,
        changes=listed(request.changes) if request.changes else "",
        flagged=_flagged(call) if call.decisions else "",
        prompt_id=prompt.id,
        prompt_version=prompt.version,
        images=request.images,
        audio_seconds=request.audio_seconds,
    )


def _flagged(call: Call) -> str:
    """Direction and category of what filters noted; some, where it is a lot."""
    noted = {f"{d.direction}:{d.category}" for d in call.decisions if d.action == "flag"}
    return ", ".join(sorted(noted)[:MOST_NAMES])
