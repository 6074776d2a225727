"""One version of a preset: what it asks for, and the messages that it makes of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gemma_gateway.core.dialect import Json
from gemma_gateway.core.errors import MAX_PARAM_CHARS, Code, GatewayError
from gemma_gateway.presets import budget, media
from gemma_gateway.presets.sandbox import NotRendered, Template
from gemma_gateway.presets.schema import Schema, VariableFault

Origin = Literal["built-in", "operator"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a message has an image or a file: what a variable holds. Nothing where there is none.

    Args:
        kind: of it.
        variable: its name.
    """

    kind: media.Kind
    variable: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message that is to be made."""

    role: str
    parts: tuple[Template | Slot, ...]


class Rendered(NamedTuple):
    """What a preset made.

    Args:
        messages: as chat completions take them.
        replaced: variables that didn't fit, and what they were replaced by: their ``fallback``.
    """

    messages: list[Json]
    replaced: Json


@dataclass(frozen=True, slots=True)
class Preset:
    """One version of one preset.

    Args:
        id: what clients call it.
        version: of its own.
        description: for people.
        schema: of its variables.
        turns: its messages.
        origin: whose it is.
    """

    id: str
    version: str
    description: str
    schema: Schema
    turns: tuple[Turn, ...]
    origin: Origin

    def render(self, variables: object, at: str = "variables") -> Rendered:
        """The messages for some variables.

        Args:
            variables: as a client sent them: decoded JSON; None: there are none.
            at: where the client sent them, for errors.

        Raises:
            GatewayError: VALIDATION_ERROR with ``param`` naming the variable: they don't fit, or a
                bound was reached.
        """
        try:
            with budget.within(budget.Budget()):
                return self._render({} if variables is None else variables)
        except VariableFault as fault:
            where = ".".join([at, *map(str, fault.place)])[:MAX_PARAM_CHARS]
            raise _invalid(f"{where} {fault.why}.", where) from None
        except NotRendered as fault:
            where = f"{at}.{fault.name}" if fault.name else at
            raise _invalid(f"The preset {self.id} can't be made: {fault}.", where) from None
        except budget.OverBudget as fault:
            raise _invalid(f"The preset {self.id} can't be made: {fault}.", at) from None

    def _render(self, given: object) -> Rendered:
        parts: dict[str, Json] = {}
        if isinstance(given, dict):
            parts = {
                name: media.read(kind, name, given[name])
                for name, kind in self._slots().items()
                if given.get(name) is not None
            }
            # Texts only see that it is there.
            given = {n: v for n, v in given.items() if n not in self._slots() or n in parts}
            given |= dict.fromkeys(parts, "attached")
        values, replaced = self.schema.take(given)
        messages = [
            {"role": turn.role, "content": _content(turn.parts, values, parts)}
            for turn in self.turns
        ]
        return Rendered([message for message in messages if message["content"]], replaced)

    def _slots(self) -> dict[str, media.Kind]:
        return {p.variable: p.kind for t in self.turns for p in t.parts if isinstance(p, Slot)}


def _content(
    parts: Sequence[Template | Slot], values: Json, given: Mapping[str, Json]
) -> str | list[Json]:
    """A message's content: a text where it is no more than that; empty: there is none."""
    found: list[Json] = []
    for part in parts:
        if isinstance(part, Slot):
            found += [given[part.variable]] if part.variable in given else []
        elif text := part.render(values):
            found.append({"type": "text", "text": text})
    if all(part["type"] == "text" for part in found):
        return "\n\n".join(part["text"] for part in found)
    return found


def _invalid(message: str, param: str) -> GatewayError:
    return GatewayError(Code.VALIDATION_ERROR, message, param=param, reason="invalid_value")
