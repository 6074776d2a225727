"""YAML files that a person writes: every fault is named by file, line and field."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

MAX_BYTES = 32 * 1024 * 1024
# The safe loader, in C where there is one: ten times as fast.
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Place = tuple[str | int, ...]


class ConfigError(ValueError):
    """A configuration that can't be used; one line a fault, ``file:line: field: why``."""


class YamlFile:
    """A file that was read.

    Args:
        file: its path.

    Attributes:
        values: what it holds, as plain Python values.

    Raises:
        ConfigError: missing, larger than 32 MiB, not UTF-8, or no YAML.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            if file.stat().st_size > MAX_BYTES:
                raise ConfigError(f"{file}: larger than {MAX_BYTES} bytes")
            self._text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise ConfigError(f"{file}: {why}") from None
        try:
            self.values: Any = yaml.load(self._text, LOADER)  # noqa: S506 - a safe loader
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{file}:{line}: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: {error}") from None

    def line(self, place: Place) -> int | None:
        """Line of a place, or of the nearest one around it that the file has."""
        while place and place not in self._places:
            place = place[:-1]
        return self._places.get(place)

    @cached_property
    def _places(self) -> dict[Place, int]:
        return dict(_lines(yaml.compose(self._text, LOADER)))


def faults(error: ValidationError) -> Iterator[tuple[Place, str]]:
    """What pydantic found: (place, why)."""
    for fault in error.errors():
        yield fault["loc"], fault["msg"].removeprefix("Value error, ")


def field(place: Place) -> str:
    """A place as people write it: ``tiers.gold.windows.0.limit``."""
    return ".".join(str(part) for part in place)


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
