"""What each caller has in flight in this process."""

from __future__ import annotations

from gemma_gateway.core.call import Call, Principal
from gemma_gateway.core.errors import Code, GatewayError


class Places:
    """A place for each call in flight, as many for each key as its tier's ``max_in_flight``.

    A call holds its place from the moment at which its key is known, so that bodies that arrive
    slowly count too. Keys without a call in flight take no memory.

    Prompts whose logprobs are asked for take room besides: an engine may read many of them in one
    step, which everybody's tokens wait for, so the tier's ``prompt_logprobs_tokens`` are for all
    that a key has in flight.

    Attributes:
        refused: calls that found no place, since the start.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self.refused = 0

    def take(self, call: Call, principal: Principal) -> None:
        """Give a call a place.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED: its key has too many calls in flight already.
        """
        key_id, most = principal.key_id, principal.tier.max_in_flight
        held = self._held.get(key_id, 0)
        if most and held >= most:
            self.refused += 1
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"This key has {held} calls in flight, and its tier allows {most} at once; try "
                "again when one of them is over.",
                headers={"retry-after": "1"},
            )
        self._held[key_id] = held + 1
        call.placed = True

    def weigh(self, call: Call, principal: Principal, tokens: int) -> None:
        """Give a call that has a place room for the logprobs of its prompt.

        Args:
            tokens: how many the prompt has at most; 0: nobody asks for their logprobs.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED: its key has such calls in flight, and together they
                would be over the tier's bound.
        """
        key_id, most = principal.key_id, principal.tier.prompt_logprobs_tokens
        sum_of_all = self._tokens.get(key_id, 0) + tokens
        if sum_of_all > most:
            self.refused += 1
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"With the calls of this key that are in flight, {sum_of_all} bytes of prompts "
                f"would have their logprobs told, and its tier allows {most} at once; try again "
                "when one of them is over.",
                headers={"retry-after": "1"},
            )
        self._tokens[key_id] = sum_of_all
        call.logprobs_tokens = tokens

    def leave(self, call: Call) -> None:
        """The call is over, however it ended; one without a place changes nothing."""
        if not call.placed or call.principal is None:
            return
        call.placed = False
        key_id = call.principal.key_id
        held = self._held[key_id]
        if held > 1:
            self._held[key_id] = held - 1
        else:
            del self._held[key_id]
        if call.logprobs_tokens:
            self._tokens[key_id] -= call.logprobs_tokens
            call.logprobs_tokens = 0
            if not self._tokens[key_id]:
                del self._tokens[key_id]

    def held(self, principal: Principal) -> int:
        """Calls of this key that are in flight in this process."""
        return self._held.get(principal.key_id, 0)

    def __len__(self) -> int:
        return len(self._held.keys() | self._tokens.keys())
