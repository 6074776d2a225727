"""What a client may say: sanitising and judging the messages of a request."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from gemma_gateway.core.call import Change
from gemma_gateway.core.dialect import Message, TextPart
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.safety.filter import Filter, refusal
from gemma_gateway.safety.sanitise import may_act
from gemma_gateway.safety.sanitise import sanitise as clean
from gemma_gateway.safety.terms import Match
from gemma_gateway.wire.place import place


class Filtered(GatewayError):
    """A request that the policy blocks. The client learns the category, never the term."""

    def __init__(self, match: Match, param: str) -> None:
        super().__init__(
            Code.CONTENT_FILTERED,
            refusal("request", match),
            param=param,
        )
        self.match = match


def sanitise(messages: list[Message], *, strip: bool) -> list[Change]:
    """Find active content in what the messages say, and remove it in place.

    Args:
        messages: of a request.
        strip: False: nothing is removed, only told.

    Returns:
        The texts that held some, ``stripped`` or ``flagged``.
    """
    how = "stripped" if strip else "flagged"
    changes: list[Change] = []
    for message in messages:
        for part in message.texts:
            if part.spoken and may_act(part.text):
                break
        else:
            continue
        for parts in _channels([part for part in message.texts if part.spoken]):
            texts = [part.text for part in parts]
            cleaned = clean(texts)
            if cleaned is texts:
                continue
            for part, before, after in zip(parts, texts, cleaned, strict=True):
                if before != after:
                    changes.append(Change(place(part.where), how))
                    if strip:
                        part.put(after)
    return changes


def check(judge: Filter, messages: list[Message]) -> set[str]:
    """Judge every text, and the parts of a message together, so that none hides in the seams.

    Returns:
        Names of the flag-only categories that match.

    Raises:
        Filtered: CONTENT_FILTERED with the place of the first text that is blocked.
    """
    flagged: set[str] = set()
    for message in messages:
        for parts in _channels(message.texts):
            texts = [part.text for part in parts]
            for part, text in zip(parts, texts, strict=True):
                if (match := judge.find(text)) is not None:
                    raise Filtered(match, place(part.where))
            if len(texts) > 1:
                texts += ["".join(texts), " ".join(texts)]
                for text in texts[-2:]:
                    if (match := judge.find(text)) is not None:
                        raise Filtered(match, place(parts[0].where))
            if judge.flagging:
                flagged.update(*map(judge.flags, texts))
    return flagged


def _channels(texts: list[TextPart]) -> Iterable[list[TextPart]]:
    """The texts of a message that a reader sees side by side."""
    return (texts,) if len(texts) == 1 else _grouped(texts)


def _grouped(parts: list[TextPart]) -> Iterator[list[TextPart]]:
    groups: dict[Hashable, list[TextPart]] = {}
    for part in parts:
        if part.channel is None:
            yield [part]
        else:
            groups.setdefault(part.channel, []).append(part)
    yield from groups.values()
