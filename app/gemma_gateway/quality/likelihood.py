"""How likely a model finds a text, token by token: what coherence and grounding are made of.

vLLM's ``prompt_logprobs`` tell the log-probability of each token of a prompt given those before it.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gemma_gateway.core.errors import Code
from gemma_gateway.quality.engine_client import EngineClient, Refused
from gemma_gateway.quality.item import MAX_ANSWER, MAX_CONTEXT, MAX_QUESTION, Item, Unscored
from gemma_gateway.quality.scores import squash

NOT_TOLD = "the engine reports no likelihoods of a prompt"
CLOSED = "a gateway refused it: the tier of its key needs prompt_logprobs_tokens (8192)"
TOO_SHORT = "the answer is too short to be judged"
MIN_WORDS = 5
LONG_WORD = 20  # characters; longer ones on average: a script without spaces
# Gains in nats, see the docstrings below; set where good and bad answers of the labelled set part
# (Gemma 3 270M). They stretch the scale and change no order.
COHERENCE_MIDDLE, COHERENCE_WIDTH = 2.6, 0.4
GROUNDING_MIDDLE, GROUNDING_WIDTH = -0.3, 0.2
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a prompt.

    Args:
        id: in the model's vocabulary.
        logprob: natural logarithm of its probability given the tokens before it.
    """

    id: int
    logprob: float


async def coherence(engine_client: EngineClient, item: Item) -> float:
    """Whether an answer reads as connected text, 0 to 1.

    Measured is how much more likely its tokens are, on average, in their order than with its words
    shuffled. The comparison takes out what makes plain likelihood a poor score: rare words make
    every order unlikely, and a loop is likely in every order.

    Raises:
        Unscored: too few words, or the engine tells no likelihoods.
    """
    answer = item.answer[:MAX_ANSWER]
    words = _words(answer)
    if len(words) < MIN_WORDS:
        raise Unscored(TOO_SHORT)
    mixed = words.copy()
    random.Random(0).shuffle(mixed)  # noqa: S311 (always the same order, so always the same score)
    if mixed[0] == words[0]:  # else their common beginning would count as the question's
        mixed.append(mixed.pop(0))
    space = " " if " " in answer else ""
    head = _question(item) + "Answer: "
    told = await _likelihoods(
        engine_client, "coherence", item.model, [head + answer, head + space.join(mixed)]
    )
    start = _common(told[0], told[1])
    gain = _mean(told[0][start:]) - _mean(told[1][start:])
    return squash(gain, COHERENCE_MIDDLE, COHERENCE_WIDTH)


async def grounding(engine_client: EngineClient, item: Item) -> float:
    """Whether an answer follows from its context, 0 to 1.

    Measured is how much likelier the context makes each token of the answer. What the context
    supports gains; what contradicts it, or was made up, loses. The mean of the lowest third of the
    gains counts: one wrong name matters, however well the rest is supported.

    Raises:
        Unscored: an empty answer, or the engine tells no likelihoods.
    """
    answer = item.answer[:MAX_ANSWER]
    question = _question(item)
    whole = f"{question}Answer: {answer}"
    context = relevant_part(item.context, f"{item.question} {answer}")
    told = await _likelihoods(
        engine_client,
        "grounding",
        item.model,
        [whole, f"Context: {context}\n\n{whole}", f"{question}Answer:"],
    )
    plain, grounded, head = told
    count = min(len(plain) - _common(plain, head), _common(plain[::-1], grounded[::-1]))
    if count <= 0:
        raise Unscored(TOO_SHORT)
    gains = sorted(
        with_it.logprob - without.logprob
        for with_it, without in zip(grounded[-count:], plain[-count:], strict=True)
    )
    lowest = gains[: math.ceil(count / 3)]
    return squash(math.fsum(lowest) / len(lowest), GROUNDING_MIDDLE, GROUNDING_WIDTH)


def relevant_part(context: str, text: str) -> str:
    """Of a long context, the run of whole sentences that shares most words with a text; at most
    ``MAX_CONTEXT`` characters."""
    if len(context) <= MAX_CONTEXT:
        return context
    wanted = set(_WORD.findall(text.lower()))
    sentences = [part[:MAX_CONTEXT] for part in _SENTENCE.split(context) if part.strip()]
    shared = [len(wanted & set(_WORD.findall(part.lower()))) for part in sentences]
    best, best_run = -1, (0, 0)
    first = size = weight = 0
    for last, sentence in enumerate(sentences):
        size += len(sentence) + 1
        weight += shared[last]
        while size - 1 > MAX_CONTEXT:
            size -= len(sentences[first]) + 1
            weight -= shared[first]
            first += 1
        if weight > best:
            best, best_run = weight, (first, last + 1)
    return " ".join(sentences[slice(*best_run)])


async def _likelihoods(
    engine_client: EngineClient, purpose: str, model: str, prompts: Sequence[str]
) -> list[list[Token]]:
    """The tokens of each prompt, without the first, which nothing goes before."""
    body = {
        "model": model,
        "prompt": list(prompts),
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": 0,
    }
    try:
        document = await engine_client.ask(purpose, "/v1/completions", body)
    except Refused as refused:
        if refused.code == Code.VALIDATION_ERROR.name:
            raise Unscored(CLOSED) from None
        raise
    try:
        choices = sorted(document["choices"], key=lambda choice: int(choice["index"]))
        told = [_tokens(choice["prompt_logprobs"]) for choice in choices]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        raise Unscored(NOT_TOLD) from None
    if len(told) != len(prompts) or not all(told):
        raise Unscored(NOT_TOLD)
    return told


def _tokens(entries: list[dict[str, Any] | None]) -> list[Token]:
    tokens = []
    for entry in entries[1:]:
        assert entry is not None
        token, told = next(iter(entry.items()))
        tokens.append(Token(int(token), float(told["logprob"])))
    return tokens


def _question(item: Item) -> str:
    question = item.question[-MAX_QUESTION:]
    return f"Question: {question}\n" if question else ""


def _words(text: str) -> list[str]:
    words = text.split()
    if words and len(text) / len(words) > LONG_WORD:
        return [mark for mark in text if not mark.isspace()]
    return words


def _common(one: Sequence[Token], other: Sequence[Token]) -> int:
    """Length of the common beginning of two token sequences."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a.id != b.id:
            break
        count += 1
    return count


def _mean(tokens: Sequence[Token]) -> float:
    if not tokens:
        raise Unscored(TOO_SHORT)
    return math.fsum(token.logprob for token in tokens) / len(tokens)
