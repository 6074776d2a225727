"""What a client may say: sanitising and judging the messages of a request."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from gemma_gateway.core.dialect import Message, TextPart
from gemma_gateway.core.errors import Code, GatewayError
from gemma_gateway.safety.filter import Filter
from gemma_gateway.safety.sanitise import sanitise as clean
from gemma_gateway.safety.terms import Match
from gemma_gateway.wire.place import place


class Filtered(GatewayError):
    """A request that the policy blocks. The client learns the category, never the term."""

    def __init__(self, match: Match, param: str) -> None:
        super().__init__(
            Code.CONTENT_FILTERED,
            f"The request was blocked by the content policy (category {match.category}).",
            param=param,
        )
        self.match = match


def sanitise(messages: list[Message]) -> bool:
    """Remove active content from every text, in place; whether anything was removed.

    Where active content only shows once the parts of a message stand side by side, the first part
    takes the clean text of all and the others are left empty.
    """
    changed = False
    for message in messages:
        for parts in _channels(message):
            for part in parts:
                changed |= _sanitise(part)
            if len(parts) > 1:
                joined = "".join(part.text for part in parts)
                cleaned = clean(joined)
                if cleaned != joined:
                    changed = True
                    for part in parts:
                        part.put("")
                    parts[0].put(cleaned)
    return changed


def check(judge: Filter, messages: list[Message]) -> set[str]:
    """Judge every text, and the parts of a message together, so that none hides in the seams.

    Returns:
        Names of the flag-only categories that match.

    Raises:
        Filtered: CONTENT_FILTERED with the place of the first text that is blocked.
    """
    flagged: set[str] = set()
    for message in messages:
        for parts in _channels(message):
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


def _sanitise(part: TextPart) -> bool:
    text = part.text
    cleaned = clean(text)
    if cleaned is text:
        return False
    part.put(cleaned)
    return True


def _channels(message: Message) -> Iterable[list[TextPart]]:
    """The texts of a message that a reader sees side by side."""
    return (message.texts,) if len(message.texts) == 1 else _grouped(message.texts)


def _grouped(parts: list[TextPart]) -> Iterator[list[TextPart]]:
    groups: dict[Hashable, list[TextPart]] = {}
    for part in parts:
        if part.channel is None:
            yield [part]
        else:
            groups.setdefault(part.channel, []).append(part)
    yield from groups.values()
