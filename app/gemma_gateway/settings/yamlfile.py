"""YAML files that a person writes: every fault is named by file, line and field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from gemma_gateway.settings import hint

MAX_BYTES = 32 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")  # of files in a folder
Place = tuple[str | int, ...]
# The safe loader, in C where there is one: ten times as fast.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"  # <<
_UNREADABLE = (ValueError, OverflowError, TypeError)  # such as the 31st of June


class ConfigError(ValueError):
    """A configuration that can't be used; one line a fault, ``file:line: field: why``."""


class _Loader(_Safe):  # type: ignore[misc]
    """The safe loader, which refuses a key that stands twice in a mapping: YAML forbids it, and
    PyYAML keeps the last."""

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.MappingNode):
            seen: dict[tuple[str, str], int] = {}
            for key, _ in node.value:
                line, name = key.start_mark.line + 1, (key.tag, str(key.value))
                if name in seen and key.tag != _MERGE:
                    why = f"{key.value!r} is already set in line {seen[name]}"
                    raise yaml.constructor.ConstructorError(None, None, why, key.start_mark)
                seen[name] = line
        return super().construct_mapping(node, deep)


class _Searcher(_Loader):
    """The same, slower: it knows the line of what Python can't make a value of."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except _UNREADABLE as error:
            why = f"{node.value!r} can't be read: {error}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark) from None


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
            self.values: Any = self._load()
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{file}:{line}: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{file}: {error}") from None
        except RecursionError:
            raise ConfigError(f"{file}: nested too deeply") from None

    def _load(self) -> Any:
        try:
            return yaml.load(self._text, _Loader)  # noqa: S506 - a safe loader
        except _UNREADABLE:
            return yaml.load(self._text, _Searcher)  # noqa: S506 - it raises, and says where

    def line(self, place: Place) -> int | None:
        """Line of a place, or of the nearest one around it that the file has."""
        while place and place not in self._places:
            place = place[:-1]
        return self._places.get(place)

    @cached_property
    def _places(self) -> dict[Place, int]:
        return dict(_lines(yaml.compose(self._text, _Safe), (), set()))


def yaml_files(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or those of a folder, by name. Hidden ones aside,
    such as Kubernetes' own; a folder that can't be read has none."""
    if not path.is_dir():
        return [path]
    try:
        found = [file for file in path.iterdir() if file.suffix in SUFFIXES]
    except OSError:
        return []
    return sorted(file for file in found if not file.name.startswith("."))


def faults(
    error: ValidationError, known: Callable[[Place], Iterable[str]] = lambda place: ()
) -> Iterator[tuple[Place, str]]:
    """What pydantic found: (place, why). A validator that looks at several fields raises a
    ValueError with ``faults`` of its own, see :class:`settings.Contradiction`.

    Args:
        known: the names that might have been meant at a place.
    """
    for fault in error.errors():
        place = fault["loc"]
        if fault["type"] == "extra_forbidden":
            name = str(place[-1]).rpartition(".")[2]  # within a section: see settings.flat
            yield place, f"unknown field{hint.meant(name, known(place))}"
            continue
        several = getattr(fault.get("ctx", {}).get("error"), "faults", None)
        if several is None:
            yield place, fault["msg"].removeprefix("Value error, ")
        else:
            yield from (((*place, *inner), why) for inner, why in several)


def field(place: Place) -> str:
    """A place as people write it: ``tiers.gold.windows.0.limit``."""
    return ".".join(str(part) for part in place)


def _lines(node: yaml.Node | None, place: Place, seen: set[int]) -> Iterator[tuple[Place, int]]:
    """Line, from 1, of every key and list entry of a YAML document; what aliases repeat, once."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark.line + 1
            yield from _lines(value, (*place, index), seen)
