"""What each caller has in flight in this process."""

from __future__ import annotations

from dataclasses import dataclass

from gemma_gateway.core.call import Call, Client, Principal
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.core.stage import End


@dataclass(frozen=True, slots=True)
class Place:
    """The note of a call that holds one.

    Args:
        logprobs_tokens: of its key's room for logprobs of prompts, what it holds.
    """

    logprobs_tokens: int


PLAIN = Place(0)  # of most calls


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

    name = "access"

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._tokens: dict[str, int] = {}
        self.refused = 0

    def enter(self, call: Call, client: Client) -> None:
        """See ``Stage``.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED: the key has too many calls in flight already.
        """
        principal = call.principal
        assert principal is not None  # the first stage knows
        key_id, most = principal.key_id, principal.tier.max_in_flight
        held = self._held.get(key_id, 0)
        if most and held >= most:
            self.refused += 1
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"This key has {held} calls in flight, and its tier allows {most} at once; try "
                "again when one of them is over.",
            )
        self._held[key_id] = held + 1
        call.notes[Place] = PLAIN

    def weigh(self, call: Call) -> None:
        """Give a call that has a place room for the logprobs of its prompt.

        Raises:
            GatewayError: RATE_LIMIT_EXCEEDED: its key has such calls in flight, and together they
                would be over the tier's bound.
        """
        principal, tokens = call.principal, call.request.logprobs_tokens
        assert principal is not None  # who has a place is known
        key_id, most = principal.key_id, principal.tier.prompt_logprobs_tokens
        sum_of_all = self._tokens.get(key_id, 0) + tokens
        if sum_of_all > most:
            self.refused += 1
            raise GatewayError(
                Code.RATE_LIMIT_EXCEEDED,
                f"With the calls of this key that are in flight, {sum_of_all} bytes of prompts "
                f"would have their logprobs told, and its tier allows {most} at once; try again "
                "when one of them is over.",
            )
        self._tokens[key_id] = sum_of_all
        call.notes[Place] = Place(tokens)

    def settle(self, call: Call, end: End) -> None:
        """See ``Observer``; a call without a place changes nothing."""
        place = call.notes.pop(Place, None)
        if place is None:
            return
        key_id = call.caller
        held = self._held[key_id]
        if held > 1:
            self._held[key_id] = held - 1
        else:
            del self._held[key_id]
        if place.logprobs_tokens:
            self._tokens[key_id] -= place.logprobs_tokens
            if not self._tokens[key_id]:
                del self._tokens[key_id]

    def held(self, principal: Principal) -> int:
        """Calls of this key that are in flight in this process."""
        return self._held.get(principal.key_id, 0)

    def __len__(self) -> int:
        return len(self._held.keys() | self._tokens.keys())


class LogprobsRoom:
    """The stage of ``Places`` that a prompt whose logprobs are asked for passes besides.

    Args:
        places: where the call has its place.
    """

    name = "safety"

    def __init__(self, places: Places) -> None:
        self._places = places

    def enter(self, call: Call, client: Client) -> None:
        """See ``Stage``; raises RATE_LIMIT_EXCEEDED."""
        if call.request.logprobs_tokens:
            self._places.weigh(call)
