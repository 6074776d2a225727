"""The set of questions: JSON lines, every fault named by file and line."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gemma_gateway.quality.evaluate.errors import Unusable
from gemma_gateway.quality.item import Item, Turn
from gemma_gateway.quality.scores import NAMES
from gemma_gateway.settings.yamlfile import faults, field

MAX_BYTES = 64 * 2**20  # of a set
MAX_FAULTS = 10  # that are told
Text = Annotated[str, StringConstraints(min_length=1, max_length=100_000)]


class MessageRow(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    role: Literal["system", "user", "assistant"]
    content: Text


class Row(BaseModel):
    """One question. ``note`` and ``id`` are the author's own; ``labels`` say what is known to be
    good (1) or bad (0) about the row's answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field("", max_length=200)
    prompt: Text | None = None
    messages: tuple[MessageRow, ...] | None = Field(None, min_length=1, max_length=1000)
    answer: Text | None = None
    reference: str = Field("", max_length=100_000)
    context: str = Field("", max_length=1_000_000)
    labels: dict[Literal["relevance", "coherence", "safety", "accuracy"], Literal[0, 1]] = Field(
        default_factory=dict
    )
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Row:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's")
        if self.labels and self.answer is None:
            raise ValueError("labels describe the row's own answer, and it has none")
        return self

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation."""
        if self.messages is None:
            return (Turn("user", self.prompt or ""),)
        return tuple(Turn(message.role, message.content) for message in self.messages)

    @property
    def asked(self) -> list[dict[str, str]]:
        """The messages that a model gets, with the context, if any, at the last one's beginning."""
        said = [{"role": turn.role, "content": turn.text} for turn in self.turns]
        if self.context:
            said[-1]["content"] = f"{self.context}\n\n{said[-1]['content']}"
        return said

    @property
    def wanted(self) -> tuple[str, ...]:
        """The scores it is for: those that it has labels for, or all."""
        return tuple(name for name in NAMES if name in self.labels) or NAMES

    @property
    def key(self) -> str:
        """The same for the same row, whatever its line."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    def item(self, answer: str, judge: str, filtered: bool) -> Item:
        """What the judge gets.

        Args:
            answer: the row's own, or a model's.
            judge: the model that is asked for likelihoods and further answers.
            filtered: the gateway's policy has cut the answer.
        """
        return Item(self.turns, answer, judge, self.context, self.reference, filtered)


def read(path: Path) -> list[Row]:
    """All rows of a set.

    Raises:
        Unusable: no such file, or faults in it; each is told as ``file:line: field: why``.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Unusable(f"{path}: larger than {MAX_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    rows: list[Row] = []
    told: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(Row.model_validate(_object(line)))
            except ValidationError as error:
                told += [f"{path}:{number}: {_place(p)}{why}" for p, why in faults(error)]
            except ValueError as error:
                told.append(f"{path}:{number}: {error}")
        if len(told) >= MAX_FAULTS:
            break
    if told:
        raise Unusable("\n".join(told[:MAX_FAULTS]))
    if not rows:
        raise Unusable(f"{path}: it contains no rows")
    return rows


def _object(line: bytes) -> object:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _place(place: tuple[str | int, ...]) -> str:
    return f"{field(place)}: " if place else ""
