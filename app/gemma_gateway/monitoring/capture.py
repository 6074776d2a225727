"""From a finished call to its record."""

from __future__ import annotations

import time

from gemma_gateway.core.call import Call
from gemma_gateway.core.record import Record
from gemma_gateway.core.usage import Usage
from gemma_gateway.monitoring.memory import Memory
from gemma_gateway.monitoring.outcomes import status_of

NOTHING = Usage()


def record_of(
    call: Call, model: str, status: int, outcome: str, seconds: float, memory: Memory
) -> Record:
    """The record of a call that is over now.

    Args:
        call: the call.
        model: a served model's name, or ``other``; never what a client made up.
        status: HTTP status that was sent.
        outcome: ``ok``, ``client_closed`` or a name of ``Code``.
        seconds: that it took.
        memory: the newest measure of it.
    """
    principal, usage = call.principal, call.usage or NOTHING
    return Record(
        time.time(),
        call.engine_id,
        call.id,
        principal.key_id if principal else "",
        principal.tier_name if principal else "none",
        call.path,
        model,
        call.stream,
        status_of(outcome, status),
        outcome,
        seconds,
        call.first_token - call.started if call.first_token else None,
        call.queue_time,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.estimated,
        call.finish_reason,
        call.input_length,
        call.upstream,
        memory.resident_mb,
        memory.gpu_mb,
    )
