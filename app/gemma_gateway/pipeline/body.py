"""The stages that read a request: its bytes, and then what is in them."""

from __future__ import annotations

from functools import partial

from gemma_gateway.core.call import Call, Client
from gemma_gateway.core.heavy import INLINE_BYTES, Heavy
from gemma_gateway.core.stage import Step, Waiting


class ReadBody:
    """Waits for the whole body."""

    name = "body"

    async def enter(self, call: Call, client: Client) -> None:
        """See ``Stage``; raises what ``Client.body`` raises."""
        call.request.raw = await client.body()


class Steps:
    """A body's bytes to a valid request, ready for the engine, in steps that need no event loop:
    those of a large one happen in a thread, in one go.

    Args:
        heavy: the thread.
        steps: in order.
    """

    def __init__(self, heavy: Heavy, steps: tuple[Step, ...]) -> None:
        self.name = steps[0].name
        self._heavy = heavy
        self._steps = steps
        self._runs = tuple(step.run for step in steps)

    def enter(self, call: Call, client: Client) -> Waiting:
        """See ``Stage``."""
        if len(call.request.raw) > INLINE_BYTES or call.request.coding:
            return self._heavy.run(call.caller, partial(self._run, call))
        self._run(call)
        return None

    def _run(self, call: Call) -> None:
        if call.trace is None:
            for run in self._runs:
                run(call)
        else:
            for step in self._steps:
                call.trace.enter(step.name)
                step.run(call)
