"""The steps that keep a request clean: markup, the content policy, control tokens."""

from __future__ import annotations

from collections.abc import Mapping

from gemma_gateway.core.call import Call, Change, Decision
from gemma_gateway.core.dialect import Message
from gemma_gateway.core.prompt import NO_PROMPT, UsedPrompt
from gemma_gateway.safety import input as incoming
from gemma_gateway.safety.controls import ControlTokens
from gemma_gateway.safety.filter import Filter, is_idle


class Sanitise:
    """Removes active content from what messages say."""

    name = "validation"

    def run(self, call: Call) -> None:
        """See ``Step``; the caller's tier decides what happens to it."""
        principal, request = call.principal, call.request
        assert principal is not None  # the first stage knows
        mode = principal.tier.sanitise
        if mode != "off":
            request.changes += incoming.sanitise(request.messages, strip=mode == "strip")


class Judge:
    """Judges the texts by the filters.

    Args:
        judges: what may not be said, by the ``policy`` of a tier.
    """

    name = "safety"

    def __init__(self, judges: Mapping[str, Filter]) -> None:
        self._judges = {mode: judge for mode, judge in judges.items() if not is_idle(judge)}

    def run(self, call: Call) -> None:
        """See ``Step``; raises CONTENT_FILTERED with the place of the text."""
        self.judge(call, call.request.messages)

    def idle(self, call: Call) -> bool:
        """Whether nothing is judged for this caller."""
        principal = call.principal
        assert principal is not None  # the first stage knows
        return principal.tier.policy not in self._judges

    def judge(self, call: Call, messages: list[Message]) -> None:
        """Judge messages for a call.

        Raises:
            Filtered: CONTENT_FILTERED with the place of the text.
        """
        assert call.principal is not None  # the first stage knows
        judge = self._judges.get(call.principal.tier.policy)
        if judge is None:
            return
        try:
            flagged = incoming.check(judge, messages)
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
        places: list[str] = []
        request.data, request.control_tokens = self._controls.write(request.body, places)
        if places:
            known = call.notes.get(UsedPrompt, NO_PROMPT).places
            request.changes += [Change(known.get(where, where), "escaped") for where in places]
        request.messages = []  # nobody needs them any more, and there may be many
