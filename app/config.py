"""Reading the configuration file: every fault is named by file, line and field."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings.exceptions import SettingsError

from app.settings import Settings

DEFAULT_FILE = Path("gateway.yaml")
FILE_VARIABLE = "GATEWAY_CONFIG"
Place = tuple[str | int, ...]


class ConfigError(Exception):
    """The configuration can't be used. ``str()`` is one line a fault: ``file:line: field: why``."""


def load(file: Path | None = None) -> Settings:
    """Settings from the environment over ``file``.

    Args:
        file: YAML file; by default the one that GATEWAY_CONFIG names, or ``gateway.yaml`` here.

    Raises:
        ConfigError: a file that is missing, isn't YAML, or holds a wrong or unknown field.
    """
    if file is None:
        named = os.environ.get(FILE_VARIABLE)
        file = Path(named) if named else DEFAULT_FILE
        if not named and not file.exists():
            return _build({}, {}, file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: {error}") from None
    if values is None:
        return _build({}, {}, file)
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: the file must be a mapping of settings")
    return _build(values, dict(_lines(node)), file)


def _build(values: dict[str, Any], lines: dict[Place, int], file: Path) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        faults = [_fault(fault["loc"], fault["msg"], lines, file) for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from None
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from None


def _fault(place: Place, message: str, lines: dict[Place, int], file: Path) -> str:
    """One line for one fault, with the line of the nearest place that the file has."""
    name = ".".join(str(part) for part in place)
    message = message.removeprefix("Value error, ")
    known = place
    while known and known not in lines:
        known = known[:-1]
    if known:
        return f"{file}:{lines[known]}: {name}: {message}"
    if place:
        return f"environment: GATEWAY_{'__'.join(str(part) for part in place).upper()}: {message}"
    return f"{file}: {message}" if lines else f"environment: {message}"


def _lines(node: yaml.Node | None, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Line numbers, from 1, of every key and item of a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*place, key.value)
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*place, index)
            yield here, value.start_mark.line + 1
            yield from _lines(value, here)
