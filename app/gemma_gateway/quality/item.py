"""What is judged: an answer, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

# Rendered questions and answers are cut to these lengths, in characters: vLLM holds the logits of a
# whole prompt at once when it tells likelihoods (262,144 words for each of its tokens).
MAX_QUESTION, MAX_ANSWER, MAX_CONTEXT = 400, 800, 1200


class Unscored(Exception):
    """A score can't be had; the text is the reason that reports give.

    Args:
        reason: a short fixed sentence, never content.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Args:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        text: all of its text.
    """

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """An answer to be judged.

    Args:
        turns: the conversation before the answer.
        answer: what the model said.
        model: a served model's name: who is asked for likelihoods and further answers.
        context: what the answer should rest on; may be empty.
        reference: a right answer; may be empty.
        filtered: the content policy has cut the answer.
    """

    turns: tuple[Turn, ...]
    answer: str
    model: str
    context: str = ""
    reference: str = ""
    filtered: bool = False

    @property
    def question(self) -> str:
        """What was asked last."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")
