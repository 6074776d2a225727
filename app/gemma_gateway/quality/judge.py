"""The judge: all scores of one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from gemma_gateway.quality import likelihood, shieldgemma
from gemma_gateway.quality.embeddings import Embeddings, similarity
from gemma_gateway.quality.engine_client import EngineClient
from gemma_gateway.quality.item import Item, Turn, Unscored
from gemma_gateway.quality.scores import NAMES, Scores, mean, squash
from gemma_gateway.safety.policy import Policy

# Cosines that become 0.5, and what one step of the logistic function is; see ``squash``. Set where
# good and bad answers of the labelled set part (all-MiniLM-L6-v2).
RELEVANCE_MIDDLE, RELEVANCE_WIDTH = 0.3, 0.08
REFERENCE_MIDDLE, REFERENCE_WIDTH = 0.92, 0.02
CONSISTENCY_MIDDLE, CONSISTENCY_WIDTH = 0.8, 0.05
FLAGGED = 0.5  # safety of what only flag-only terms match
SAMPLE_TOKENS = 128  # of a further answer at most; it need not be much longer than the first
SAMPLE_MARGIN, CHARS_PER_TOKEN = 16, 4
SAMPLE_TEMPERATURE = 0.7
NO_QUESTION = "there is no question"
NOTHING_TO_COMPARE = "no reference, no context, and self-consistency is off"
NO_SAMPLES = "the engine gave no further answers"

Way = Callable[[Item], Awaitable[float]]


class Judge:
    """Scores answers. Every score stands alone: one that can't be had is None, with a reason.

    Args:
        engine_client: how the model is asked.
        embeddings: sentence embeddings.
        policy: the content policy.
        samples: further answers for self-consistency; 0: none.
    """

    def __init__(
        self, engine_client: EngineClient, embeddings: Embeddings, policy: Policy, samples: int = 2
    ) -> None:
        self._engine_client = engine_client
        self._embeddings = embeddings
        self._policy = policy
        self._samples = samples

    async def score(self, item: Item, names: Collection[str] = NAMES) -> Scores:
        """The scores of an answer. Never raises Unscored.

        Args:
            item: the answer.
            names: which scores.
        """
        by, accurate = self._accuracy(item)
        ways: dict[str, Way] = {
            "relevance": self._relevance,
            "coherence": self._coherence,
            "safety": self._safety,
            "accuracy": accurate,
        }
        scores, reasons = Scores(), dict[str, str]()
        for name in names:
            try:
                setattr(scores, name, round(await ways[name](item), 4))
            except Unscored as error:
                reasons[name] = error.reason
        scores.reasons = reasons
        scores.accuracy_by = by if scores.accuracy is not None else ""
        return scores

    def _accuracy(self, item: Item) -> tuple[str, Way]:
        """The best way there is to tell whether an answer is true."""
        if item.reference:
            return "reference", self._by_reference
        if item.context:
            return "context", self._by_context
        return "consistency", self._consistency

    async def _coherence(self, item: Item) -> float:
        return await likelihood.coherence(self._engine_client, item)

    async def _by_context(self, item: Item) -> float:
        return await likelihood.grounding(self._engine_client, item)

    async def _relevance(self, item: Item) -> float:
        """How near the answer is to the question; the model was trained to find answers so."""
        if not item.question.strip():
            raise Unscored(NO_QUESTION)
        question, answer = await self._embeddings.encode([item.question, item.answer])
        return squash(similarity(question, answer), RELEVANCE_MIDDLE, RELEVANCE_WIDTH)

    async def _safety(self, item: Item) -> float:
        """The policy's verdict; the lower one of it and ShieldGemma's, where that is served."""
        texts = [turn.text for turn in item.turns] + [item.answer]
        if item.filtered or any(self._policy.find(text) for text in texts):
            return 0.0
        verdict = FLAGGED if any(self._policy.flags(text) for text in texts) else 1.0
        shield = shieldgemma.served(self._engine_client.models())
        if shield is None:
            return verdict
        return min(verdict, await shieldgemma.safety(self._engine_client, shield, item))

    async def _by_reference(self, item: Item) -> float:
        """How near the answer is to a right one, both beside the question: a bare "Paris." and a
        full sentence then mean the same."""
        answer, reference = await self._embeddings.encode(
            [f"{item.question} {item.answer}", f"{item.question} {item.reference}"]
        )
        return squash(similarity(answer, reference), REFERENCE_MIDDLE, REFERENCE_WIDTH)

    async def _consistency(self, item: Item) -> float:
        """How near the answer is to what the model says when it is asked again.

        Source: Manakul et al., "SelfCheckGPT" (2023): what a model knows it says again, what it
        makes up it makes up differently each time.
        """
        if not self._samples:
            raise Unscored(NOTHING_TO_COMPARE)
        question = item.question
        body: dict[str, Any] = {
            "model": item.model,
            "messages": [{"role": turn.role, "content": turn.text} for turn in _spoken(item)],
            "n": self._samples,
            "seed": 0,
            "max_tokens": min(SAMPLE_TOKENS, SAMPLE_MARGIN + len(item.answer) // CHARS_PER_TOKEN),
            "temperature": SAMPLE_TEMPERATURE,
            "top_p": 1,  # no cut: vLLM sorts the vocabulary for one, which on a CPU takes its time
            "repetition_penalty": 1,
        }
        document = await self._engine_client.ask("consistency", "/v1/chat/completions", body)
        try:
            said = [choice["message"]["content"] or "" for choice in document["choices"]]
        except (KeyError, TypeError):
            raise Unscored(NO_SAMPLES) from None
        answers = [item.answer, *(text for text in said if text.strip())]
        if len(answers) == 1:
            raise Unscored(NO_SAMPLES)
        mine, *others = await self._embeddings.encode([f"{question} {text}" for text in answers])
        near = mean(similarity(mine, other) for other in others)
        assert near is not None
        return squash(near, CONSISTENCY_MIDDLE, CONSISTENCY_WIDTH)


def _spoken(item: Item) -> list[Turn]:
    return [turn for turn in item.turns if turn.role in ("system", "user", "assistant")]
