"""The steps that keep a request clean: markup, the content policy, control tokens."""

from __future__ import annotations

from gemma_gateway.core.call import Call, Decision
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.controls import ControlTokens
from gemma_gateway.safety.filter import Filter


class Sanitise:
    """Removes active content from the texts."""

    name = "validation"

    def run(self, call: Call) -> None:
        """See ``Step``."""
        incoming.sanitise(call.request.messages)


class Judge:
    """Judges the texts by the filters.

    Args:
        judge: what may not be said.
    """

    name = "safety"

    def __init__(self, judge: Filter) -> None:
        self._filter = judge

    def run(self, call: Call) -> None:
        """See ``Step``; raises CONTENT_FILTERED with the place of the text."""
        try:
            flagged = incoming.check(self._filter, call.request.messages)
        except incoming.Filtered as filtered:
            call.decisions.append(Decision("input", filtered.match.category, "block"))
            raise
        for category in flagged:
            call.decisions.append(Decision("input", category, "flag"))


class BreakControlTokens:
    """Writes the bytes that the engine gets: the last step, so that nothing gets past it.

    Args:
        controls: the texts of control tokens.
    """

    name = "safety"

    def __init__(self, controls: ControlTokens) -> None:
        self._controls = controls

    def run(self, call: Call) -> None:
        """See ``Step``."""
        request = call.request
        request.data, request.control_tokens = self._controls.write(request.body)
        request.messages = []  # nobody needs them any more, and there may be many
