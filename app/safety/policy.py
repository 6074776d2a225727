"""The content policy: categories of terms from a YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app.safety.scanner import Machine, Scanner
from app.safety.terms import Entry, Match, Terms, variants

__all__ = ["Category", "Match", "Policy", "PolicyError"]

DEFAULT_FILE = Path(__file__).with_name("default_policy.yaml")
MAX_TERMS = 100_000
MAX_TERM_CHARS = 200
MAX_FILE_BYTES = 32 * 1024 * 1024
Place = tuple[str | int, ...]


class PolicyError(ValueError):
    """A policy file that can't be used; one line a fault: ``file:line: field: why``."""


class Category(BaseModel):
    """Terms of one kind, see ``default_policy.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    terms: tuple[str, ...] = Field(min_length=1, max_length=MAX_TERMS)
    match: Literal["word", "substring"] = "word"
    action: Literal["block", "flag"] = "block"

    @field_validator("terms")
    @classmethod
    def _usable(cls, terms: tuple[str, ...]) -> tuple[str, ...]:
        for term in terms:
            if len(term) > MAX_TERM_CHARS:
                raise ValueError(f"a term is longer than {MAX_TERM_CHARS} characters")
            try:
                variants(term)
            except ValueError as error:
                raise ValueError(f"{term!r}: {error}") from None
        return terms


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: tuple[Category, ...] = Field(max_length=1000)

    @model_validator(mode="after")
    def _bounded(self) -> _File:
        if sum(len(category.terms) for category in self.categories) > MAX_TERMS:
            raise ValueError(f"more than {MAX_TERMS} terms in all")
        return self


class Policy:
    """What may not be said. Immutable; one object judges every call of the process.

    Args:
        categories: at most 100,000 terms in all, each of at most 200 characters.

    Raises:
        ValueError: a term of which folding leaves nothing.
    """

    def __init__(self, categories: tuple[Category, ...] = ()) -> None:
        self._blocked = Terms(_entries(categories, "block"))
        self._flagged = Terms(_entries(categories, "flag"))
        self._machine = Machine(self._blocked)
        self.flagging = self._flagged.longest > 0

    @classmethod
    def load(cls, file: Path | None = None) -> Policy:
        """The policy of a YAML file; the built-in one without.

        Raises:
            PolicyError: the file is missing, too large, no YAML, or not a policy.
        """
        return cls(_read(file or DEFAULT_FILE).categories)

    def find(self, text: str) -> Match | None:
        """The first blocking match of a whole text; the same that a scanner would come to.

        About 1 µs for a short text, 2 ns a further character, 25 ns outside ASCII.
        """
        return self._blocked.find(text)

    def flags(self, text: str) -> set[str]:
        """Names of the flag-only categories that a whole text matches."""
        if not self.flagging:
            return set()
        return {match.category for match in self._flagged.all(text)}

    def scanner(self) -> Scanner:
        """A scanner of the blocking terms for one growing text."""
        return Scanner(self._machine)


def _entries(categories: tuple[Category, ...], action: str) -> Iterator[Entry]:
    for category in categories:
        if category.action == action:
            for term in category.terms:
                yield Entry(Match(category.name, term), category.match == "substring")


def _read(file: Path) -> _File:
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise PolicyError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    try:
        values = yaml.load(text, _LOADER)  # noqa: S506
        return _File.model_validate(values)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"{file}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"{file}: {error}") from None
    except ValidationError as error:
        lines = dict(_lines(yaml.compose(text, _LOADER)))
        faults = [_fault(file, fault["loc"], fault["msg"], lines) for fault in error.errors()]
        raise PolicyError("\n".join(faults)) from None


# The safe loader, in C where there is one: ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _fault(file: Path, place: Place, message: str, lines: dict[Place, int]) -> str:
    known = place
    while known and known not in lines:
        known = known[:-1]
    name = ".".join(str(part) for part in place) or "the file"
    return f"{file}:{lines.get(known, 1)}: {name}: {message.removeprefix('Value error, ')}"


def _lines(node: yaml.Node | None, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Line, from 1, of every key and list entry of a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark.line + 1
            yield from _lines(value, (*place, index))
