"""What vLLM does for one call: its counts, and its end."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, eq=False)
class Work:
    """The engine's requests behind one call (several for n > 1 or a list of prompts).

    It holds vLLM's own request states, so counts stay readable after vLLM has dropped them.
    """

    engine: Any  # vllm.v1.engine.async_llm.AsyncLLM
    chat: bool = True  # its prompts come from the chat template
    states: list[Any] = field(default_factory=list)  # vllm.v1.engine.output_processor.RequestState
    given_up: bool = False

    def counts(self) -> tuple[int, int]:
        prompts = {id(state.parent_req or state): state.prompt_len for state in self.states}
        generated = sum(
            state.detokenizer.num_output_tokens() for state in self.states if state.detokenizer
        )
        return sum(prompts.values()), generated

    def queue_time(self) -> float | None:
        """Longest wait of its requests for their first turn, seconds; None before that, and where
        the engine keeps no statistics. Source: ``vllm.v1.metrics.stats.RequestStateStats``."""
        waits = [
            stats.scheduled_ts - stats.queued_ts
            for state in self.states
            if (stats := state.stats) is not None and stats.queued_ts and stats.scheduled_ts
        ]
        return max(0.0, *waits) if waits else None

    def dead(self) -> bool:
        return bool(self.engine.errored)

    async def abort(self) -> None:
        self.given_up = True
        running = self.engine.output_processor.request_states
        names = [state.request_id for state in self.states if state.request_id in running]
        if names and not self.dead():
            await self.engine.abort(names, internal=True)


# The call that the running task works for: vLLM's tasks inherit it, so that a request that enters
# the engine finds its call whatever ids the protocols above have given it.
CURRENT: ContextVar[Work | None] = ContextVar("engine_work", default=None)


def count_requests(engine: Any) -> None:
    """Note each request that enters the engine in its call's ``Work``."""
    processor = engine.output_processor
    add_request = processor.add_request

    def add(request: Any, *args: Any, **kwargs: Any) -> None:
        work = CURRENT.get()
        if work is not None and work.given_up:
            raise asyncio.CancelledError  # the caller left while the prompt was being tokenised
        add_request(request, *args, **kwargs)
        if work is not None:
            work.states.append(processor.request_states[request.request_id])

    processor.add_request = add
