"""What a filter of texts is, and several of them as one.

A filter that only ends texts (the term policy) and one that changes them (redaction) have the same
shape; ``main.FILTERS`` lists those that judge requests and answers.
"""

from __future__ import annotations

from itertools import chain as joined
from typing import Protocol

from gemma_gateway.safety.terms import Match


def refusal(what: str, match: Match) -> str:
    """What a client is told whose ``what`` (request, answer) a filter has ended: never the term."""
    return (
        f"The {what} was blocked by the content policy (category {match.category}). An operator "
        "changes that in the policy file (GATEWAY_POLICY_FILE), or by `policy` of the key's tier."
    )


class Follower(Protocol):
    """Follows one text as it grows.

    Attributes:
        match: what ended the text; None: nothing did.
    """

    match: Match | None

    @property
    def held(self) -> str:
        """Text that has not left yet."""
        ...

    def push(self, text: str) -> str:
        """Append to the text; returns what may leave now. Once it has a match, nothing may."""
        ...

    def close(self) -> str:
        """The text ends here; returns the rest that may leave."""
        ...


class Passing:
    """A ``Follower`` of a filter that neither ends nor changes texts."""

    match: Match | None = None
    held = ""

    def push(self, text: str) -> str:
        """See ``Follower``."""
        return text

    def close(self) -> str:
        """See ``Follower``."""
        return ""


PASSING: Follower = Passing()


class Filter(Protocol):
    """Judges texts, whole or as they grow, with one result however a text is cut.

    Attributes:
        flagging: ``flags`` may find something.
        rewrites: followers may change a text, not only end it; its logprobs are left out then.
    """

    flagging: bool
    rewrites: bool

    def find(self, text: str) -> Match | None:
        """What would end a whole text; None: nothing would."""
        ...

    def flags(self, text: str) -> set[str]:
        """Categories that a whole text matches, and which are only noted."""
        ...

    def scanner(self) -> Follower:
        """A follower of one new text; ``PASSING`` of all texts, where they only pass."""
        ...


def is_idle(judge: Filter) -> bool:
    """Whether a filter does nothing with any text."""
    return judge.scanner() is PASSING and not judge.flagging


def chain(filters: tuple[Filter, ...]) -> Filter:
    """Several filters as one: each gets what the one before it lets through."""
    return filters[0] if len(filters) == 1 else _Chain(filters)


class _Chain:
    def __init__(self, filters: tuple[Filter, ...]) -> None:
        self._filters = filters
        self.flagging = any(each.flagging for each in filters)
        self.rewrites = any(each.rewrites for each in filters)

    def find(self, text: str) -> Match | None:
        follower = self.scanner()
        follower.push(text)
        follower.close()
        return follower.match

    def flags(self, text: str) -> set[str]:
        return set(joined.from_iterable(each.flags(text) for each in self._filters))

    def scanner(self) -> Follower:
        followers = [each.scanner() for each in self._filters]
        acting = [follower for follower in followers if follower is not PASSING]
        return _ChainFollower(acting) if acting else PASSING


class _ChainFollower:
    def __init__(self, followers: list[Follower]) -> None:
        self._followers = followers
        self.match: Match | None = None

    @property
    def held(self) -> str:
        return "".join(each.held for each in self._followers)

    def push(self, text: str) -> str:
        if self.match is not None:
            return ""
        for place, follower in enumerate(self._followers):
            text = follower.push(text)
            if follower.match is not None:
                return self._end(place, text, follower.match)
        return text

    def close(self) -> str:
        if self.match is not None:
            return ""
        text = ""
        for place, follower in enumerate(self._followers):
            text = follower.push(text) + follower.close()
            if follower.match is not None:
                return self._end(place, text, follower.match)
        return text

    def _end(self, place: int, text: str, match: Match) -> str:
        """One has ended the text: those behind it get the last of it."""
        self.match = match
        for follower in self._followers[place + 1 :]:
            text = follower.push(text) + follower.close()
            self.match = follower.match or self.match
        return text
